"""A convolutional LSTM whose gradients pile up."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.sequence import CONV_LSTM
from benchmarks.heldout.program import run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "conv-lstm-uncleared"
FAMILY = "conv-lstm"
TITLE = "A convolutional LSTM whose gradients pile up"
TRUTH: Truth = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": None,
    "onset": (0, 2),
    "symptom": "loss_plateau",
}
FAULTY = replace(CONV_LSTM, clears=False)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    return run(CONV_LSTM if fixed else FAULTY, observe, seed)
