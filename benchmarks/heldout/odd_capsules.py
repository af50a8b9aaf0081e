"""Capsules with a margin loss and outputs between zero and one."""

from __future__ import annotations

from benchmarks.heldout.nets.feedforward import CAPSULES
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-capsules"
FAMILY = "capsules"
TITLE = "Capsules with a margin loss and outputs between zero and one"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = CAPSULES


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
