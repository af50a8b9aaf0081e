"""Only the read-out and the latents are handed to the optimizer."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.heldout.nets.relational import LATENTS
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "latents-forgotten-block"
FAMILY = "perceiver"
TITLE = "Only the read-out and the latents are handed to the optimizer"
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["lift", "query", "key", "value", "mix", "mix.0", "mix.1", "mix.3"],
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(
    LATENTS,
    optimizer=lambda m: torch.optim.Adam([m.latents, *m.read.parameters()], lr=3e-3),
)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(LATENTS if fixed else FAULTY, observe, seed)
