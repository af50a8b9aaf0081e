"""A learning rate of 2e-6."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import WAVENET
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "wavenet-rate-too-low"
FAMILY = "wavenet"
TITLE = "A learning rate of 2e-6"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_low"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(WAVENET, optimizer=adam(2e-6))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(WAVENET if fixed else FAULTY, observe, seed)
