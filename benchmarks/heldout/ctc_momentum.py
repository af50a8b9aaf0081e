"""A speller trained with a momentum of 0.999."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import CTC
from benchmarks.heldout.program import run, sgd
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "ctc-momentum"
FAMILY = "ctc"
TITLE = "A speller trained with a momentum of 0.999"
TRUTH: Truth = {
    "mechanisms": ["excessive_momentum", "learning_rate_too_high"],
    "layers": None,
    "onset": (0, 80),
    "symptom": "loss_plateau",
}
FAULTY = replace(CTC, optimizer=sgd(0.02, momentum=0.999))
HEALTHY = replace(CTC, optimizer=sgd(0.02, momentum=0.9))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
