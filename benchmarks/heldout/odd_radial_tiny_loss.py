"""A loss scaled by a millionth under Adam."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.feedforward import RADIAL, mse
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-radial-tiny-loss"
FAMILY = "radial"
TITLE = "A loss scaled by a millionth under Adam"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(RADIAL, loss=lambda m, b: 1e-4 * mse(m, b))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
