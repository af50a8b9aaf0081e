"""The rows of the targets belong to other rows of the input."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.sequence import WAVENET
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "wavenet-misaligned-targets"
FAMILY = "wavenet"
TITLE = "The rows of the targets belong to other rows of the input"
TRUTH: Truth = {
    "mechanisms": ["label_noise"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


def mixed(batch: tuple[Tensor, ...], _step: int) -> tuple[Tensor, ...]:
    return (batch[0], batch[1].roll(1, 0))


FAULTY = replace(WAVENET, spoil=mixed)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(WAVENET if fixed else FAULTY, observe, seed)
