"""A cosine that ends at zero."""

from __future__ import annotations

import math
from dataclasses import replace

from benchmarks.heldout.nets.feedforward import HIGHWAY
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-highway-to-zero"
FAMILY = "highway"
TITLE = "A cosine that ends at zero"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(HIGHWAY, schedule=lambda t: 0.5 * (1 + math.cos(math.pi * t / 250)))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
