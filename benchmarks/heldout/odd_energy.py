"""A contrast against noise whose loss cannot reach zero."""

from __future__ import annotations

from benchmarks.heldout.nets.relational import ENERGY
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-energy"
FAMILY = "energy"
TITLE = "A contrast against noise whose loss cannot reach zero"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = ENERGY


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
