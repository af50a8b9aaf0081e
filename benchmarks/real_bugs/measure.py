"""How much each fault hurts: both twins, three seeds, into ``results/<name>_harm.json``.

``python -m benchmarks.real_bugs.measure [--cases benchmarks.heldout]``
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch

from benchmarks.machine import write
from benchmarks.peers.collect import collect
from neuraldbg.demos.case import Case, Outcome
from neuraldbg.demos.loop import null_observe

SEEDS = (0, 1, 2)
ACCURACY_MARGIN, ERROR_FACTOR = 0.1, 1.2


def clearly_worse(bug: Outcome, fix: Outcome) -> bool:
    """Whether the buggy twin ended clearly worse: 10 points of accuracy, or 20 % more error, or not finite."""
    if not math.isfinite(fix["metric"]):
        return False
    if not math.isfinite(bug["metric"]):
        return True
    if fix["better"] == "higher":
        return fix["metric"] - bug["metric"] >= ACCURACY_MARGIN
    return bug["metric"] >= ERROR_FACTOR * fix["metric"]


def twins(case: Case, seed: int) -> tuple[Outcome, Outcome]:
    """Run the buggy and the fixed twin."""
    bug = case.train(null_observe, seed=seed, fixed=False)
    return bug, case.train(null_observe, seed=seed, fixed=True)


def row(case: Case) -> dict[str, Any]:
    """Return metrics of both twins for each seed; numbers that are not finite become null."""
    pairs = [twins(case, seed) for seed in SEEDS]
    return {
        "better": pairs[0][0]["better"],
        "bug": [_number(bug["metric"]) for bug, _ in pairs],
        "fix": [_number(fix["metric"]) for _, fix in pairs],
        "hurts": all(clearly_worse(bug, fix) for bug, fix in pairs),
    }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def main() -> None:
    """Measure all cases and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", default="benchmarks.real_bugs")
    where = parser.parse_args().cases
    torch.set_num_threads(1)
    found = {}
    for case in collect(where):
        if case.truth["mechanisms"]:
            found[case.id] = row(case)
            print(f"{case.id:34s} {found[case.id]}", flush=True)
    name = where.rpartition(".")[2]
    write(f"{name}_harm", {"seeds": list(SEEDS), "cases": found})


if __name__ == "__main__":
    main()
