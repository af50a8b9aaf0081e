"""A fixed random recurrent network under a trained read-out."""

from __future__ import annotations

from benchmarks.heldout.nets.sequence import RESERVOIR
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-reservoir"
FAMILY = "reservoir"
TITLE = "A fixed random recurrent network under a trained read-out"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = RESERVOIR


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
