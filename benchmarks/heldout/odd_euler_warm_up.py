"""A long warm-up of the learning rate."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import EULER
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-euler-warm-up"
FAMILY = "neural-ode"
TITLE = "A long warm-up of the learning rate"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(EULER, schedule=lambda t: min(1.0, (t + 1) / 120))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
