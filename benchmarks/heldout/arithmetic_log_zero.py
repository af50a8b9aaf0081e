"""A logarithm of counts that are sometimes zero."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from benchmarks.heldout.nets.feedforward import ARITHMETIC, NALU
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "arithmetic-log-zero"
FAMILY = "nalu"
TITLE = "A logarithm of counts that are sometimes zero"
TRUTH: Truth = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["0"],
    "onset": (0, 3),
    "symptom": "nonfinite_values",
}
FAULTY = replace(ARITHMETIC, model=lambda: nn.Sequential(NALU(4, 8, eps=0.0), NALU(8, 1, eps=0.0)))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(ARITHMETIC if fixed else FAULTY, observe, seed)
