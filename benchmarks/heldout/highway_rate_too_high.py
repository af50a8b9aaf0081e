"""A highway network with a learning rate far too high."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.feedforward import HIGHWAY
from benchmarks.heldout.program import run, sgd
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "highway-rate-too-high"
FAMILY = "highway"
TITLE = "A highway network with a learning rate far too high"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_high", "dead_units"],
    "layers": None,
    "onset": (0, 10),
    "symptom": "loss_plateau",
}
FAULTY = replace(HIGHWAY, optimizer=sgd(1.5, momentum=0.9))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HIGHWAY if fixed else FAULTY, observe, seed)
