"""A speller with clipping that works in the first steps only."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.heldout.nets.sequence import CTC
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-ctc-clipped"
FAMILY = "ctc"
TITLE = "A speller with clipping that works in the first steps only"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(
    CTC, before_step=lambda m, _step: torch.nn.utils.clip_grad_norm_(m.parameters(), 5.0)
)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
