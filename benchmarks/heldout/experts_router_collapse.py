"""A balancing term of the wrong sign sends everything to one pair of experts."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import EXPERTS, Experts
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "experts-router-collapse"
FAMILY = "experts"
TITLE = "A balancing term of the wrong sign sends everything to one pair of experts"
TRUTH: Truth = {
    "mechanisms": ["unknown_cause"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(EXPERTS, model=lambda: Experts(balance=-20.0), steps=700)
HEALTHY = replace(EXPERTS, steps=700)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
