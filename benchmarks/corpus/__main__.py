"""``python -m benchmarks.corpus run|list|survey``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from benchmarks.corpus.plan import plan
from benchmarks.corpus.run import jobs, run

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    go = commands.add_parser("run", help="train what is missing, under observation")
    go.add_argument("--limit", type=int, default=0, metavar="N", help="at most N runs")
    go.add_argument(
        "--workers", type=int, default=0, metavar="K", help="processes; all cores by default"
    )
    go.add_argument("--fresh", action="store_true", help="run again what is stored")
    go.add_argument(
        "--sample", action="store_true", help="a random sample of all families, with twins"
    )
    shown = commands.add_parser("list", help="print the cases")
    survey = commands.add_parser("survey", help="print what the stored runs did")
    for command in (go, shown, survey):
        command.add_argument("--families", default="", metavar="A,B", help="only these families")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(argv)
    families = [name for name in options.families.split(",") if name]
    if options.command == "run":
        run(
            families,
            limit=options.limit,
            workers=options.workers,
            fresh=options.fresh,
            spread=options.sample,
        )
    elif options.command == "list":
        _list(families)
    else:
        from benchmarks.corpus.survey import survey

        sys.stdout.write(survey(families) + "\n")
    return 0


def _list(families: Sequence[str]) -> None:
    cases = plan(families)
    for case in cases:
        sys.stdout.write(f"{case.id}\t{case.title}\n")
    kinds = Counter(case.kind for case in cases)
    sys.stdout.write(f"{len(cases)} cases {dict(kinds)}, {len(jobs(families))} runs\n")


if __name__ == "__main__":
    sys.exit(main())
