"""A soft tree whose splits are hard from the start."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.feedforward import TREE, SoftTree
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "tree-hard-splits"
FAMILY = "soft-tree"
TITLE = "A soft tree whose splits are hard from the start"
TRUTH: Truth = {
    "mechanisms": ["saturated_activations", "initialization_too_large"],
    "layers": ["side", "split"],
    "onset": 0,
    "symptom": "loss_plateau",
}
FAULTY = replace(TREE, model=lambda: SoftTree(gain=200.0))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(TREE if fixed else FAULTY, observe, seed)
