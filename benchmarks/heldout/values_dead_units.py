"""Action values whose hidden units are born below zero."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import VALUES
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "values-dead-units"
FAMILY = "values"
TITLE = "Action values whose hidden units are born below zero"
TRUTH: Truth = {
    "mechanisms": ["dead_units"],
    "layers": ["online.0", "online.1"],
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(VALUES, prepare=lambda m: m.online[0].bias.data.fill_(-8.0))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(VALUES if fixed else FAULTY, observe, seed)
