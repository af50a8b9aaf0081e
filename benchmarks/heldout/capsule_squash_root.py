"""Capsules squashed without an epsilon, on images that are partly blank."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.feedforward import CAPSULES, Capsules
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "capsule-squash-root"
FAMILY = "capsules"
TITLE = "Capsules squashed without an epsilon, on images that are partly blank"
TRUTH: Truth = {
    "mechanisms": ["numerical_singularity"],
    "layers": None,
    "onset": 40,
    "symptom": "nonfinite_values",
}


def blank(batch: tuple[Tensor, ...], step: int) -> tuple[Tensor, ...]:
    if step != 40:
        return batch
    x = batch[0].clone()
    x[:2] = 0.0
    return (x, batch[1])


FAULTY = replace(CAPSULES, model=lambda: Capsules(eps=0.0, bias=False), spoil=blank)
HEALTHY = replace(CAPSULES, model=lambda: Capsules(bias=False), spoil=blank)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
