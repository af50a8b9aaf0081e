"""Sinusoids whose weights are bfloat16."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.feedforward import SINUSOIDS, Sinusoids
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "sinusoids-bf16"
FAMILY = "sinusoids"
TITLE = "Sinusoids whose weights are bfloat16"
TRUTH: Truth = {
    "mechanisms": ["low_precision_update_absorption", "learning_rate_too_low"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


def halved(batch: tuple[Tensor, ...], _step: int) -> tuple[Tensor, ...]:
    return tuple(t.bfloat16() for t in batch)


FAULTY = replace(
    SINUSOIDS,
    model=lambda: Sinusoids().bfloat16(),
    spoil=halved,
    optimizer=adam(1e-4),
    metric=lambda m, batch: SINUSOIDS.metric(m.float(), batch),
)
HEALTHY = replace(SINUSOIDS, optimizer=adam(1e-4))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
