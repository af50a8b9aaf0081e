"""A schedule that multiplies the rate by two hundred at step 200."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.feedforward import RADIAL
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "radial-schedule-restart"
FAMILY = "radial"
TITLE = "A schedule that multiplies the rate by two hundred at step 200"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_high"],
    "layers": None,
    "onset": 200,
    "symptom": "loss_spike",
}
FAULTY = replace(RADIAL, schedule=lambda t: 200.0 if t >= 200 else 1.0)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(RADIAL if fixed else FAULTY, observe, seed)
