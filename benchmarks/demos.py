"""Diagnosis of the demo cases over seeds: ``python -m benchmarks.demos`` writes ``results/demos.json``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.cases import Ran, run_all, with_harm
from benchmarks.diagnosis import verdict_of
from benchmarks.learning.judge import Verdict, figures
from benchmarks.machine import write

SOURCE, SEEDS = "neuraldbg.demos", (0, 1, 2)


def verdicts(
    source: str, seeds: tuple[int, ...], *, device: str = "", workers: int = 2
) -> list[tuple[Ran, Verdict]]:
    """Run every case and its twin and return what pgmpy's answer claims of each."""
    runs = with_harm(run_all(source, seeds, device=device, workers=workers))
    return [(ran, verdict_of(ran)) for ran in runs]


def table(found: list[tuple[Ran, Verdict]], title: str) -> dict[str, Any]:
    """Return one row per case and twin, with the share of seeds on which each answer was right."""
    rows = []
    for name in dict.fromkeys(ran.job.case for ran, _ in found):
        mine = [(r, v) for r, v in found if r.job.case == name]
        faulty = [v for r, v in mine if not r.job.fixed and v.label.mechanisms]
        quiet = [v for r, v in mine if r.job.fixed or not v.label.mechanisms]
        timed = [v.onset for v in faulty if v.onset is not None]
        rows.append(
            [
                name,
                _mean([v.hit for v in faulty]),
                _mean([v.in_three for v in faulty]),
                _mean([v.place for v in faulty if v.label.layers is not None]),
                _mean([bool(t) for t in timed]),
                _mean([v.accused for v in quiet]),
                _mean([v.claims[0].probability for v in faulty if v.claims]),
            ]
        )
    columns = ["case", "first", "in three", "layer", "onset", "twin accused", "stated"]
    return {
        "title": title,
        "columns": columns,
        "rows": rows,
        "note": "",
    }


def _mean(values: list[Any]) -> float | None:
    return round(sum(map(float, values)) / len(values), 3) if values else None


def main() -> None:
    """Run and write; on another device with one seed, into a file of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="", help="where to train, for example cuda")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args()
    seeds = SEEDS[:1] if args.device else SEEDS
    found = verdicts(SOURCE, seeds, device=args.device, workers=args.workers)
    total = {k: round(v, 4) for k, v in figures([v for _, v in found]).items()}
    title = f"Demo cases{f' on {args.device}' if args.device else ''}, {len(seeds)} seeds"
    body = {"seeds": list(seeds), "figures": total, "tables": [table(found, title)]}
    name = f"demos_{args.device}" if args.device else "demos"
    sys.stdout.write(f"{total}\n{write(name, body)}\n")


if __name__ == "__main__":
    main()
