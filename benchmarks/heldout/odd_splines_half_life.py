"""Splines with strong, harmless label jitter."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.heldout.nets.feedforward import SPLINES
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-splines-half-life"
FAMILY = "splines"
TITLE = "Splines with strong, harmless label jitter"
TRUTH: Truth = {"mechanisms": []}


def jitter(batch: tuple[Tensor, ...], _step: int) -> tuple[Tensor, ...]:
    return (batch[0], batch[1] + 0.3 * torch.randn_like(batch[1]))


PROGRAM = replace(SPLINES, spoil=jitter)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
