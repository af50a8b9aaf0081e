"""Gradients clipped to a norm of 1e-4."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.heldout.nets.relational import WRITER
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "writer-tight-clipping"
FAMILY = "hypernetwork"
TITLE = "Gradients clipped to a norm of 1e-4"
TRUTH: Truth = {
    "mechanisms": ["excessive_gradient_clipping"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(
    WRITER, before_step=lambda m, _step: torch.nn.utils.clip_grad_norm_(m.parameters(), 1e-4)
)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(WRITER if fixed else FAULTY, observe, seed)
