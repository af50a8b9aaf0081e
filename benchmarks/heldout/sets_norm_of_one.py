"""Layer normalisation over a single feature, which leaves nothing of it."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from benchmarks.heldout.nets.relational import SETS, Sets
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "sets-norm-of-one"
FAMILY = "deep-sets"
TITLE = "Layer normalisation over a single feature, which leaves nothing of it"
TRUTH: Truth = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["phi.0"],
    "onset": 0,
    "symptom": "loss_plateau",
}


def normed() -> Sets:
    net = Sets()
    net.phi = nn.Sequential(nn.LayerNorm(1), *net.phi)
    return net


FAULTY = replace(SETS, model=normed)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(SETS if fixed else FAULTY, observe, seed)
