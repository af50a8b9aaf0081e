"""A network that writes weights, initialised fifteen times too wide."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import WRITER
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "writer-large-init"
FAMILY = "hypernetwork"
TITLE = "A network that writes weights, initialised fifteen times too wide"
TRUTH: Truth = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["write"],
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(WRITER, prepare=lambda m: m.write.weight.data.mul_(40), optimizer=adam(1e-3))
HEALTHY = replace(WRITER, optimizer=adam(1e-3))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(HEALTHY if fixed else FAULTY, observe, seed)
