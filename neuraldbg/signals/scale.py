"""Losses that a loop multiplies by a number of its own, and gradients that it divides again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.view import run_series

__all__ = ["SAME_NORM", "after_over_before", "loss_series", "spread", "unscaling"]

Array = NDArray[np.float64]
# A factor is the same in every step if its logarithm spreads no more than this, and changes gradients if it is
# further than that from zero; norms are the same if they spread by less than this share.
STEADY, CHANGED, SAME_NORM = 0.01, 0.01, 0.05
# A loss may have other terms, so many times as large; scales of losses are powers of two, from this one on
# (Micikevicius et al. 2018).
OTHER_TERMS, FEWEST_BITS = 8.0, 6


def loss_series(recording: Recording) -> Series:
    """Return the loss of every step, without the factor that gradients were divided by before they were used.

    Of several passes the loss is the mean already, and a division is that of their sum.
    """
    loss = run_series(recording, "loss")
    passes = run_series(recording, "backwards")
    single = not passes.observed.any() or float(np.median(passes.values[passes.observed])) <= 1
    return loss._replace(values=loss.values * unscaling(recording)) if single else loss


def unscaling(recording: Recording) -> float:
    """Return the factor below one that takes a scale out of gradients which the loop put on its loss; 1.0 if there is none.

    A loop that multiplies its loss by a number of its own divides the gradients again: the factor is the same in every
    step, whatever their norm, and the loss is so many times what its functions returned. A clip leaves the norm the
    same; gradients that are only divided, or multiplied, belong to smaller or larger steps.
    """
    ratio, level = after_over_before(recording)
    if ratio.size < 3 or not (ratio > 0).all():
        return 1.0
    logs = np.log(ratio)
    middle = float(np.median(logs))
    if float(np.std(logs)) >= STEADY or middle > -CHANGED or spread(level) < SAME_NORM:
        return 1.0
    return math.exp(middle) if _is_scaled(recording, math.exp(-middle)) else 1.0


def _is_scaled(recording: Recording, factor: float) -> bool:
    """Return whether a loss is about so many times what its functions returned; if that is unknown, a power of two tells."""
    called: dict[int, float] = {}
    for call in recording.losses:
        value = call.facts.get("value")
        if isinstance(value, (int, float)) and value > 0:
            called[call.step] = called.get(call.step, 0.0) + float(value)
    loss = run_series(recording, "loss")
    at = dict(zip(loss.steps[loss.observed].tolist(), loss.values[loss.observed], strict=True))
    times = [at[step] / value for step, value in called.items() if step in at]
    if not times:
        power = math.log2(factor)
        return power >= FEWEST_BITS and abs(power - round(power)) < STEADY
    return 1.0 / OTHER_TERMS < float(np.median(times)) / factor < OTHER_TERMS


def after_over_before(recording: Recording) -> tuple[Array, Array]:
    """Return the norm that an optimizer used over that of the backward pass, and that norm, where both were seen."""
    raw, used = (run_series(recording, f"grad_norm_{name}") for name in ("raw", "used"))
    finite = np.isfinite(raw.values) & np.isfinite(used.values)
    seen = raw.observed & used.observed & finite & (raw.values > 0)
    return used.values[seen] / raw.values[seen], used.values[seen]


def spread(level: Array) -> float:
    """Return the deviation of norms over their mean."""
    return float(np.std(level) / max(float(np.mean(level)), 1e-30))
