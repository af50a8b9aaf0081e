"""An embedding that drops ninety-seven hundredths of its units."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import TRIPLETS, Embedder
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "triplets-dropout"
FAMILY = "triplets"
TITLE = "An embedding that drops ninety-seven hundredths of its units"
TRUTH: Truth = {
    "mechanisms": ["excessive_dropout"],
    "layers": ["body.2"],
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(TRIPLETS, model=lambda: Embedder(drop=0.97))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(TRIPLETS if fixed else FAULTY, observe, seed)
