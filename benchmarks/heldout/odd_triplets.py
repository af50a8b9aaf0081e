"""Triplets of which most soon have no loss."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import TRIPLETS
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-triplets"
FAMILY = "triplets"
TITLE = "Triplets of which most soon have no loss"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(TRIPLETS, steps=400)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
