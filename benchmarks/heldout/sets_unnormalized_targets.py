"""Targets of the order of ten thousand."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.relational import SETS
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "sets-unnormalized-targets"
FAMILY = "deep-sets"
TITLE = "Targets of the order of ten thousand"
TRUTH: Truth = {
    "mechanisms": ["unnormalized_targets"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


def large(batch: tuple[Tensor, ...], _step: int) -> tuple[Tensor, ...]:
    return (batch[0], 20_000 * batch[1])


FAULTY = replace(SETS, spoil=large, optimizer=adam(1e-2))
HEALTHY = replace(SETS, optimizer=adam(1e-2))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
