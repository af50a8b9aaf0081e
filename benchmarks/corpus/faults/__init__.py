"""Faults of every mechanism, faults of no listed mechanism, and injections too weak to matter."""

from __future__ import annotations

from benchmarks.corpus.faults import (
    data,
    depth,
    initial,
    losses,
    mild,
    numerics,
    rates,
    regularising,
    states,
    unknown,
    updates,
)
from benchmarks.corpus.injection import Fault

__all__ = ["FAULTS", "MECHANISMS", "MILD"]

FAULTS: tuple[Fault, ...] = (
    *rates.FAULTS,
    *initial.FAULTS,
    *states.FAULTS,
    *depth.FAULTS,
    *data.FAULTS,
    *losses.FAULTS,
    *updates.FAULTS,
    *regularising.FAULTS,
    *numerics.FAULTS,
    *unknown.FAULTS,
)

MILD: tuple[Fault, ...] = mild.FAULTS

MECHANISMS: tuple[str, ...] = tuple(dict.fromkeys(fault.mechanism for fault in FAULTS))
