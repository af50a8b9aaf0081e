"""A highway network whose decay outweighs its gradient."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.feedforward import HIGHWAY
from benchmarks.heldout.program import run, sgd
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "highway-weight-decay"
FAMILY = "highway"
TITLE = "A highway network whose decay outweighs its gradient"
TRUTH: Truth = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": None,
    "onset": (0, 60),
    "symptom": "loss_plateau",
}
FAULTY = replace(HIGHWAY, optimizer=sgd(0.05, momentum=0.9, weight_decay=0.15))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HIGHWAY if fixed else FAULTY, observe, seed)
