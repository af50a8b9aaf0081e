"""``neuraldbg run``: run a script unchanged, find its models through its optimizers, and diagnose it."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from neuraldbg.cli.say import EXIT_FAILURE, say, say_diagnosis, status
from neuraldbg.errors import TrainingStopped, UsageError

if TYPE_CHECKING:
    from neuraldbg.debugger import NeuralDbg

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the script and diagnose every model that it trained; the status is that of the script."""
    from neuraldbg.discovery import Discovery  # noqa: PLC0415 - torch loads here

    program = _module(options) if options.module else _script(options)
    found = Discovery(save=options.save, stop_when=options.stop_when)
    with found, _arguments(options):
        outcome, error = _outcome(program)
        found.stop(error)
    worst = 0
    if not found.watched:
        sys.stderr.write("neuraldbg: no optimizer was created, so there was nothing to watch\n")
    for dbg in found.watched:
        worst = max(worst, _tell(dbg, options))
    if isinstance(error, KeyboardInterrupt):
        return 130
    return outcome or worst


def _tell(dbg: NeuralDbg, options: argparse.Namespace) -> int:
    diagnosis = dbg.diagnose()
    if not options.json:
        say("", sys.stderr)
    say_diagnosis(diagnosis, as_json=options.json, stream=sys.stderr)
    if options.report is not None:
        sys.stderr.write(f"report: {dbg.report(options.report)}\n")
    return status(diagnosis, options.fail_on)


def _outcome(program: Callable[[], None]) -> tuple[int, BaseException | None]:
    """Run the program as the interpreter would; return its exit status and what it died of."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0, None
        sys.stderr.write(f"{end.code}\n")
        return 1, None
    except TrainingStopped as stopped:
        # The user asked for it: where in the script it came is nothing to explain.
        sys.stderr.write(f"neuraldbg: {stopped}\n")
        return EXIT_FAILURE, stopped
    except BaseException as error:  # noqa: BLE001 - also Ctrl-C: what was seen until then is told
        kept = error.__traceback__
        while kept is not None and _is_ours(kept.tb_frame.f_code.co_filename):
            kept = kept.tb_next
        traceback.print_exception(type(error), error, kept)
        return 1, error
    return 0, None


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen") or filename == runpy.__file__


def _script(options: argparse.Namespace) -> Callable[[], None]:
    path = Path(options.script)
    try:
        source = path.read_bytes()
    except OSError as error:
        msg = (
            f"cannot read {str(path)!r}: {error.strerror}. For a module say: neuraldbg run -m NAME"
        )
        raise UsageError(msg) from error

    def program() -> None:
        # The script is __main__, as it would be without us: its classes pickle and its workers find it.
        main = types.ModuleType("__main__")
        main.__file__ = str(path)
        main.__builtins__ = __builtins__  # type: ignore[attr-defined]
        sys.modules["__main__"] = main
        exec(compile(source, str(path), "exec"), main.__dict__)  # noqa: S102 - the user's own script

    return program


def _module(options: argparse.Namespace) -> Callable[[], None]:
    def program() -> None:
        runpy.run_module(options.script, run_name="__main__", alter_sys=True)

    return program


@contextmanager
def _arguments(options: argparse.Namespace) -> Iterator[None]:
    """Give the script the arguments and the import path that it would have without us."""
    before, main = (sys.argv, sys.path), sys.modules["__main__"]
    home = os.getcwd() if options.module else str(Path(options.script).resolve().parent)  # noqa: PTH109
    sys.argv, sys.path = [options.script, *options.args], [home, *sys.path[1:]]
    try:
        yield
    finally:
        sys.argv, sys.path = before
        sys.modules["__main__"] = main
