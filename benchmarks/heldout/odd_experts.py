"""Experts of which the router at first leaves some unused."""

from __future__ import annotations

from benchmarks.heldout.nets.relational import EXPERTS
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-experts"
FAMILY = "experts"
TITLE = "Experts of which the router at first leaves some unused"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = EXPERTS


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
