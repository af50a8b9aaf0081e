"""Decays so strong that nothing of the second step is left at the end."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import DIAGONAL
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "diagonal-forgets"
FAMILY = "diagonal"
TITLE = "Decays so strong that nothing of the second step is left at the end"
TRUTH: Truth = {
    "mechanisms": ["depth_attenuation"],
    "layers": None,
    "onset": 0,
    "symptom": "vanishing_gradients",
}
FAULTY = replace(DIAGONAL, prepare=lambda m: m.decay.data.fill_(-1.5))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(DIAGONAL if fixed else FAULTY, observe, seed)
