"""Factors from batches of eight."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import FACTORS
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-factors-small-batches"
FAMILY = "factors"
TITLE = "Factors from batches of eight"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(FACTORS, size=8, steps=800, optimizer=adam(2e-2))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
