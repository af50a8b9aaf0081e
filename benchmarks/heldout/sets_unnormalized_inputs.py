"""Bags of numbers in thousands."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.relational import SETS
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "sets-unnormalized-inputs"
FAMILY = "deep-sets"
TITLE = "Bags of numbers in thousands"
TRUTH: Truth = {
    "mechanisms": ["unnormalized_inputs"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


def thousands(batch: tuple[Tensor, ...], step: int) -> tuple[Tensor, ...]:
    return (batch[0] * 400 + 900, *batch[1:])


FAULTY = replace(SETS, spoil=thousands)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(SETS if fixed else FAULTY, observe, seed)
