"""Evidence of strangers' programs, with their labels: ``python -m benchmarks.learning.rounds``.

The corpus injects faults into programs of one hand. How often a symptom shows without the fault, and what people do on
purpose, those who never saw it tell better: their programs are learned from beside it, and judged a round at a time by
numbers that were learned without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import Ran, run_all, with_harm
from benchmarks.first_sight import ROUNDS
from benchmarks.learning.build import evidence_of
from benchmarks.learning.strangers import CHECKED
from benchmarks.learning.table import Row, digest, write_table

__all__ = ["PATH", "main", "rows"]

PATH = Path(__file__).with_name("strangers.jsonl.gz")


def rows(runs: Iterable[Ran], *, family: str) -> Iterator[Row]:
    """Yield one row per run that was recorded and took any step.

    Parameters
    ----------
    runs
        Programs of one round, each fault with its twin.
    family
        The name of the round: nothing of one round is judged by numbers that were learned from it.
    """
    for ran in with_harm(runs):
        label = replace(ran.label, family=family, source="strangers")
        evidence = evidence_of(ran.recording)
        if evidence.findings:
            yield Row(label=label, evidence=evidence, steps=int(ran.recording.steps.size))


def _all(names: Iterable[str]) -> Iterator[Row]:
    for name in names:
        yield from rows(run_all(f"benchmarks/{name}", (0,), again=True), family=name)


def main() -> None:
    """Write the table of all rounds but the one that checks; programs whose recordings are kept do not train again."""
    path = write_table(_all(name for name in ROUNDS if name != CHECKED), PATH)
    sys.stdout.write(f"{path.name}: {digest(path)}\n")


if __name__ == "__main__":
    main()
