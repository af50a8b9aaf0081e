"""Parse a command line, run its command, and turn what happened into an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from neuraldbg.answers import ALIASES
from neuraldbg.cli import demo, many, run, saved, show, watch
from neuraldbg.errors import NeuralDBGError
from neuraldbg.records.event import FAILURE_KINDS

__all__ = ["main"]

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
FAILURES = (*FAILURE_KINDS, *ALIASES)
DESCRIPTION = "Why did this training run fail? One sentence, with an honest probability."
EPILOG = (
    "exit status: 0 fine; 1 a failure at least as probable as --fail-on; 2 a bad command line or "
    "an unreadable file; 130 interrupted; `run` keeps the status of the script"
)


class _Parser(argparse.ArgumentParser):
    """Names the nearest choice when a choice is wrong."""

    def error(self, message: str) -> NoReturn:
        wrong = message.partition("invalid choice: ")[2]
        if wrong:
            word, _, rest = wrong.partition(" (choose from ")
            choices = [choice.strip(" '") for choice in rest.rstrip(")").split(",")]
            near = get_close_matches(word.strip("'"), choices, n=1, cutoff=0.5)
            message += f". Did you mean {near[0]!r}?" if near else ""
        # argparse counts what may be empty, the rest of the line, among what is required.
        super().error(message.removesuffix(", args"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser().print_help(sys.stderr)
        return EXIT_BAD_INPUT
    options = parser().parse_args(argv)
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except NeuralDBGError as error:
        sys.stderr.write(f"neuraldbg: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads us (head, less) has enough; the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(prog="neuraldbg", description=DESCRIPTION, epilog=EPILOG)
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_training(commands)
    _add_one_run(commands)
    _add_many_runs(commands)
    _add_show(commands)
    return top


def _add_training(commands: Any) -> None:
    command = commands.add_parser("demo", help="train a small real model and diagnose it")
    command.add_argument("name", nargs="?", default=demo.DEFAULT, help="a case; see --list")
    command.add_argument("--list", action="store_true", help="list the cases and stop")
    command.add_argument("--fixed", action="store_true", help="train the healthy twin")
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another run (default: 0)"
    )
    command.add_argument(
        "--device", default="cpu", help="where to train, for example cuda (default: cpu)"
    )
    command.add_argument("--save", metavar="FILE", type=Path, help="write the recording")
    command.add_argument("--report", metavar="FILE", type=Path, help="write an HTML report")
    _judging(command)
    command.set_defaults(command=demo.demo)

    command = commands.add_parser(
        "run",
        help="run a script unchanged and diagnose it",
        description="Run a training script without any change of its code. The models are found "
        "through the optimizers that own their parameters. The diagnosis goes to stderr, so that the "
        "script's output stays its own; with --json it goes to stdout after it.",
        usage="neuraldbg run [--save FILE] [--report FILE] [--stop-when P] [--fail-on P] [--json] "
        "(SCRIPT | -m MODULE) ...",
    )
    command.add_argument("--save", metavar="FILE", type=Path, help="write the recording")
    command.add_argument("--report", metavar="FILE", type=Path, help="write an HTML report")
    command.add_argument(
        "--stop-when",
        type=_probability,
        metavar="P",
        help="end the training when a failure is at least this probable",
    )
    _judging(command)
    command.add_argument("-m", dest="module", action="store_true", help="run a module")
    command.add_argument("script", metavar="SCRIPT", help="a file, or with -m a module")
    command.add_argument("args", nargs=argparse.REMAINDER, help="the script's own arguments")
    command.set_defaults(command=run.run)


def _add_one_run(commands: Any) -> None:
    command = commands.add_parser("explain", help="say why a saved run failed")
    command.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a recording (run.ndbg); of a run of several ranks all of them, or their folder",
    )
    command.add_argument("--failure", choices=FAILURES, metavar="KIND", help="why this one?")
    _judging(command)
    command.set_defaults(command=saved.explain)

    command = commands.add_parser("chain", help="trace a failure of a saved run to its root")
    _file(command)
    command.add_argument("failure", metavar="FAILURE", help=f"one of {', '.join(FAILURES)}")
    _json(command)
    command.set_defaults(command=saved.chain)

    command = commands.add_parser("report", help="write the report of a saved run")
    _file(command)
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.html", help="where to (default: beside FILE)"
    )
    command.set_defaults(command=saved.report)

    command = commands.add_parser(
        "export",
        help="write events, causes, numbers or the graph of a saved run",
        description="The suffix of OUT chooses the format: json, graphml, gexf, dot, mmd or svg for the "
        "event graph; csv, jsonl or parquet for a table.",
    )
    _file(command)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    command.add_argument(
        "--table", choices=saved.TABLES, default="events", help="which table (default: events)"
    )
    command.set_defaults(command=saved.export)

    command = commands.add_parser("watch", help="follow a run while it is recorded")
    _file(command)
    command.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="look so often (default: 2)"
    )
    command.add_argument("--once", action="store_true", help="tell what is there and stop")
    command.add_argument("--json", action="store_true", help="print one line of JSON a look")
    command.set_defaults(command=watch.watch)


def _add_many_runs(commands: Any) -> None:
    command = commands.add_parser("compare", help="say where two runs part, and why")
    command.add_argument("first", type=Path, metavar="A")
    command.add_argument("second", type=Path, metavar="B")
    _json(command)
    command.set_defaults(command=many.compare)

    command = commands.add_parser("triage", help="say which runs of a sweep failed, and of what")
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="joblib workers")
    _judging(command)
    command.set_defaults(command=many.triage)


def _add_show(commands: Any) -> None:
    command = commands.add_parser("show", help="show what the catalogue, or a saved run, knows")
    command.add_argument("what", choices=tuple(show.SHOWN))
    command.add_argument(
        "name",
        nargs="?",
        help="one mechanism or event; for layers a recording; for schema a kind of output",
    )
    _json(command)
    command.set_defaults(command=show.show)


def _file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a recording (run.ndbg), or the folder with those of all ranks of a run",
    )


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of text")


def _judging(command: argparse.ArgumentParser) -> None:
    _json(command)
    command.add_argument(
        "--fail-on",
        type=_probability,
        metavar="P",
        help="exit with 1 when a failure is at least this probable",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        msg = f"{text} is not a number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        msg = f"{text} is not a probability in (0, 1]"
        raise argparse.ArgumentTypeError(msg)
    return value
