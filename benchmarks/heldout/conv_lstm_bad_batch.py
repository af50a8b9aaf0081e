"""A film that was decoded at three hundred times its brightness."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.heldout.nets.sequence import CONV_LSTM
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "conv-lstm-bad-batch"
FAMILY = "conv-lstm"
TITLE = "A film that was decoded at three hundred times its brightness"
TRUTH: Truth = {
    "mechanisms": ["corrupted_batch"],
    "layers": None,
    "onset": 20,
    "symptom": "loss_spike",
}


def bright(batch: tuple[Tensor, ...], step: int) -> tuple[Tensor, ...]:
    return tuple(300 * t for t in batch) if step == 20 else batch


FAULTY = replace(CONV_LSTM, spoil=bright)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(CONV_LSTM if fixed else FAULTY, observe, seed)
