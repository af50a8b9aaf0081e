"""From the stored corpus runs to the evidence table: ``python -m benchmarks.learning.build``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.corpus.table import Label as Truth
from benchmarks.corpus.table import load_runs
from benchmarks.learning.table import Label, Row, digest, write_table
from neuraldbg.catalogue import EXPERTS
from neuraldbg.events import find_events, gather_evidence
from neuraldbg.records.evidence import Evidence
from neuraldbg.signals import derive

__all__ = ["evidence_of", "label_of", "main", "rows"]

HEALTHY = frozenset({"plain", "twin", "odd"})


def evidence_of(recording: Any) -> Evidence:
    """Return what the detectors say of a recording."""
    signals = derive(recording)
    return gather_evidence(signals, find_events(signals, EXPERTS), EXPERTS)


def label_of(truth: Truth) -> Label | None:
    """Return the label of a corpus run; None where it cannot be told whether the fault did harm."""
    if truth["kind"] in HEALTHY:
        return Label(id=truth["id"], family=truth["family"], seed=truth["seed"])
    if truth["verdict"] == "unclear":
        return None
    onset = truth["onset"]
    second = [f["mechanism"] for f in truth["injected"][1:]] if truth["kind"] == "pair" else []
    return Label(
        id=truth["id"],
        family=truth["family"],
        seed=truth["seed"],
        mechanisms=tuple(truth["mechanisms"]),
        second=tuple(second),
        layers=tuple(truth["layers"]) if truth["layers"] else None,
        onset=None
        if onset is None
        else (onset, onset)
        if isinstance(onset, int)
        else (onset[0], onset[1]),
        hurts=truth["verdict"] == "hurts",
    )


def rows(found: Iterable[tuple[Truth, Any]]) -> Iterator[Row]:
    """Yield one row per run that took any step and whose label is clear."""
    for number, (truth, recording) in enumerate(found):
        if number % 50 == 0:
            sys.stderr.write(f"\r{number} runs ")
        label = label_of(truth)
        if label is None:
            continue
        evidence = evidence_of(recording)
        if evidence.findings:
            yield Row(label=label, evidence=evidence, steps=int(recording.steps.size))


def main() -> None:
    """Write the table."""
    path = write_table(rows(load_runs()))
    sys.stderr.write("\n")
    sys.stdout.write(f"{path}: {digest(path)}\n")


if __name__ == "__main__":
    main()
