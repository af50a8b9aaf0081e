"""Action values with a slow copy that no optimizer holds."""

from __future__ import annotations

from benchmarks.heldout.nets.relational import VALUES
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-values"
FAMILY = "values"
TITLE = "Action values with a slow copy that no optimizer holds"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = VALUES


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
