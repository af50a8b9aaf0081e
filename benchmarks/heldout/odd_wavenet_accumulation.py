"""Gradients of four batches added before each step."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import WAVENET
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-wavenet-accumulation"
FAMILY = "wavenet"
TITLE = "Gradients of four batches added before each step"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(WAVENET, accumulate=4, size=6, steps=120)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
