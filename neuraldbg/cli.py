"""The command line: train a demo with a named fault and print its diagnosis, or show the catalogue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neuraldbg.errors import NeuralDBGError

if TYPE_CHECKING:
    from neuraldbg.debugger import NeuralDbg
    from neuraldbg.demos.case import Case

__all__ = ["main"]

EXIT_OK, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 2, 130
DEFAULT_DEMO = "resnet-learning-rate-jump"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        sys.stdout.write(options.command(options) + "\n")
    except NeuralDBGError as error:
        sys.stderr.write(f"neuraldbg: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuraldbg", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train a small real model and diagnose it")
    demo.add_argument("name", nargs="?", default=DEFAULT_DEMO, help="a case; see --list")
    demo.add_argument("--list", action="store_true", help="list the cases and stop")
    demo.add_argument("--fixed", action="store_true", help="train the healthy twin")
    demo.add_argument("--seed", type=int, default=0, metavar="N")
    demo.add_argument("--json", action="store_true", help="print JSON instead of text")
    demo.set_defaults(command=_demo)
    show = commands.add_parser("show", help="show what the catalogue knows")
    show.add_argument("what", choices=["mechanisms", "events"])
    show.set_defaults(command=_show)
    return parser


def _demo(options: argparse.Namespace) -> str:
    # torch, scikit-learn and pgmpy load here, not for --help.
    from neuraldbg.demos import CASES, find  # noqa: PLC0415

    if options.list:
        return "\n".join(f"{case.id:<40} {case.title}" for case in CASES)
    case = find(options.name)
    found = _watched(case, seed=options.seed, fixed=options.fixed)
    from neuraldbg.report import to_json, to_text  # noqa: PLC0415

    diagnosis = found.diagnose()
    return to_json(diagnosis) if options.json else to_text(diagnosis)


def _watched(case: Case, *, seed: int, fixed: bool) -> NeuralDbg:
    """Train a case with progress on stderr and return what watched it."""
    from neuraldbg.debugger import NeuralDbg  # noqa: PLC0415

    sys.stderr.write(f"{case.title}{' (the healthy twin)' if fixed else ''}\n")
    found: list[NeuralDbg] = []

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Iterator[_Progress]:
        with NeuralDbg(model) as dbg:
            found.append(dbg)
            yield _Progress()

    outcome = case.train(observe, seed=seed, fixed=fixed)
    sys.stderr.write(f"\nfinal loss {outcome['loss']:.4g}, metric {outcome['metric']:.4g}\n\n")
    return found[0]


class _Progress:
    """Prints step and loss on stderr, in place where it is a terminal."""

    def __init__(self) -> None:
        self._step = 0

    def loss(self, value: float) -> None:
        """Take the loss of one step."""
        self._step += 1
        if sys.stderr.isatty():
            sys.stderr.write(f"\rstep {self._step:4d}  loss {value:10.4g} ")
        elif self._step % 50 == 0:
            sys.stderr.write(f"step {self._step}  loss {value:.4g}\n")


def _show(options: argparse.Namespace) -> str:
    from neuraldbg.catalogue import DEFAULT  # noqa: PLC0415

    if options.what == "events":
        return "\n".join(f"{d.name:<32} {d.kind:<20} {d.meaning}" for d in DEFAULT.detectors)
    return "\n".join(f"{slug:<34} {DEFAULT.mechanism(slug).claim}" for slug in DEFAULT.slugs())
