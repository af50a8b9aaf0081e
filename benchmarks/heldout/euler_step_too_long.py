"""Euler steps so long that the field is amplified at each of them."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import EULER, Euler
from benchmarks.heldout.program import run, sgd
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "euler-step-too-long"
FAMILY = "neural-ode"
TITLE = "Euler steps so long that the field is amplified at each of them"
TRUTH: Truth = {
    "mechanisms": ["depth_amplification", "initialization_too_large", "learning_rate_too_high"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(EULER, model=lambda: Euler(step=4.0, steps=20), optimizer=sgd(0.05))
HEALTHY = replace(EULER, model=lambda: Euler(step=0.1, steps=20), optimizer=sgd(0.05))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
