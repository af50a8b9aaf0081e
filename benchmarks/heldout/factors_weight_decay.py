"""Factors pulled to zero by their decay."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import FACTORS
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "factors-weight-decay"
FAMILY = "factors"
TITLE = "Factors pulled to zero by their decay"
TRUTH: Truth = {
    "mechanisms": ["excessive_weight_decay"],
    "layers": None,
    "onset": (0, 30),
    "symptom": "loss_plateau",
}
FAULTY = replace(FACTORS, optimizer=adam(2e-2, weight_decay=0.3))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(FACTORS if fixed else FAULTY, observe, seed)
