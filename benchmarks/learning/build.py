"""From the cache of runs to the evidence table: ``python -m benchmarks.learning.build``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.injection.kept import Kept, cached
from benchmarks.learning.table import Row, digest, write_table
from neuraldbg.catalogue import DEFAULT
from neuraldbg.events import find_events, gather_evidence
from neuraldbg.records.evidence import Evidence
from neuraldbg.signals import derive

__all__ = ["evidence_of", "main", "rows"]


def evidence_of(recording: Any) -> Evidence:
    """Return what the detectors say of a recording."""
    signals = derive(recording)
    return gather_evidence(signals, find_events(signals, DEFAULT), DEFAULT)


def rows(found: Iterator[Kept]) -> Iterator[Row]:
    """Yield one row per run that took any step."""
    for number, kept in enumerate(found):
        if number % 50 == 0:
            sys.stderr.write(f"\r{number} runs ")
        evidence = evidence_of(kept.recording)
        if evidence.findings:
            yield Row(label=kept.label, evidence=evidence, steps=int(kept.recording.steps.size))


def main() -> None:
    """Write the table."""
    path = write_table(rows(cached()))
    sys.stderr.write("\n")
    sys.stdout.write(f"{path}: {digest(path)}\n")


if __name__ == "__main__":
    main()
