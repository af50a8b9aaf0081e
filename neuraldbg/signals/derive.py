"""Derive every signal of a recording."""

from __future__ import annotations

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Signals
from neuraldbg.signals.activation import activation_signals
from neuraldbg.signals.context import context_flags, context_numbers, is_adversarial
from neuraldbg.signals.data import data_signals
from neuraldbg.signals.gradient import gradient_signals
from neuraldbg.signals.loss import loss_signals
from neuraldbg.signals.lost import signal_lost
from neuraldbg.signals.mismatch import mismatch_signals
from neuraldbg.signals.numerics import numeric_signals
from neuraldbg.signals.optimizer import optimizer_signals
from neuraldbg.signals.parameter import parameter_signals
from neuraldbg.signals.stopped import gradient_stopped
from neuraldbg.signals.structure import structure_signals

__all__ = ["derive"]


def derive(recording: Recording) -> Signals:
    """Return the scale-free signals of a run.

    Parameters
    ----------
    recording
        What capture saw; it may be empty or unfinished.

    Returns
    -------
    Signals
        A signal that could not be derived is absent from ``series``.
    """
    if recording.steps.size == 0:
        series = numeric_signals(recording)
    else:
        series = {
            **loss_signals(recording, adversarial=is_adversarial(recording)),
            **gradient_signals(recording),
            **parameter_signals(recording),
            **activation_signals(recording),
            **signal_lost(recording),
            **gradient_stopped(recording),
            **optimizer_signals(recording),
            **data_signals(recording),
            **mismatch_signals(recording),
            **numeric_signals(recording),
            **structure_signals(recording),
        }
    return Signals(
        series=series,
        context=context_flags(recording, series),
        numbers=context_numbers(recording, series),
        recording=recording,
    )
