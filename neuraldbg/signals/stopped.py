"""Weights whose gradient is gone from some step on, although one comes to what their layer gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.gradient import FEW
from neuraldbg.signals.view import (
    gradient_norms,
    layer_max,
    layer_series,
    matrix_params,
    sampled_rows,
)

__all__ = ["gradient_stopped"]

Flags = NDArray[np.bool_]
# A spread over the batch below this part of the size is that of a constant.
CONSTANT = 1e-4


def gradient_stopped(recording: Recording) -> dict[str, Series]:
    """Return from when on the gradient of a layer's weights is exactly zero, though there was one before.

    Something that has no slope lies between the weights and their layer (rounding, a sign, a comparison), which the
    gradient of the output does not pass. Where the layer is fed nothing but zeros, these have no gradient to give, either.
    """
    chosen = matrix_params(recording.topology)
    if not chosen or not recording.sampled.size:
        return {}
    owner = np.array([recording.topology.params[i].layer for i in chosen])
    norms, seen = gradient_norms(recording, sampled_rows(recording))
    gradient, known = norms[:, chosen], seen[:, chosen]
    output = layer_series(recording, "out_grad_norm")
    comes = output.observed & (output.values > 0)
    gone = known & (gradient == 0) & (comes & _varies(recording))[:, owner]
    values = np.zeros(gone.shape)
    for column in range(len(chosen)):
        first = _first_gone(gone[:, column], known[:, column], gradient[:, column])
        values[first:, column] = 1.0
    judged = known & output.observed[:, owner]
    return {"gradient_stopped": layer_max(recording.sampled, values, judged, owner)}


def _first_gone(gone: Flags, known: Flags, gradient: NDArray[np.float64]) -> int:
    """Return the row from which a gradient is gone for good; the number of rows if it is not."""
    rows = np.flatnonzero(known)
    held = rows[gradient[rows] != 0]
    after = rows[rows > held[-1]] if held.size else rows[:0]
    return int(after[0]) if after.size >= FEW and gone[after].all() else gone.size


def _varies(recording: Recording) -> Flags:
    """Return where what a layer gives differs between examples: fed zeros it gives its bias, shape ``(sampled, L)``."""
    spread, size = (layer_series(recording, name) for name in ("act_std", "act_rms"))
    seen = spread.observed & size.observed
    return np.asarray(seen & (spread.values > CONSTANT * size.values), dtype=bool)
