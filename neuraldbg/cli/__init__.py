"""The command line: diagnose a demo, a script, or saved runs."""

from neuraldbg.cli.main import main

__all__ = ["main"]
