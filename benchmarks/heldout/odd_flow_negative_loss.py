"""A density whose loss falls below zero."""

from __future__ import annotations

from benchmarks.heldout.nets.relational import FLOW
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-flow-negative-loss"
FAMILY = "flow"
TITLE = "A density whose loss falls below zero"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = FLOW


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
