"""One missing value in a feature."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.feedforward import SPLINES
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "splines-missing-value"
FAMILY = "splines"
TITLE = "One missing value in a feature"
TRUTH: Truth = {
    "mechanisms": ["nonfinite_data"],
    "layers": None,
    "onset": 150,
    "symptom": "nonfinite_values",
}


def missing(batch: tuple[Tensor, ...], step: int) -> tuple[Tensor, ...]:
    if step != 150:
        return batch
    x = batch[0].clone()
    x[3, 1] = math.nan
    return (x, *batch[1:])


FAULTY = replace(SPLINES, spoil=missing)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(SPLINES if fixed else FAULTY, observe, seed)
