"""A soft tree whose splits harden while it learns."""

from __future__ import annotations

from benchmarks.heldout.nets.feedforward import TREE
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-tree"
FAMILY = "soft-tree"
TITLE = "A soft tree whose splits harden while it learns"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = TREE


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
