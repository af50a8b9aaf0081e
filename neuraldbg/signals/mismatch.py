"""Signals of how the loss was called: whether what it was given is what it takes."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from neuraldbg.records.recording import LossCall, Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.data import REGRESSION
from neuraldbg.signals.view import owners, run_series, scalar_series

__all__ = ["SCALE_FREE", "mismatch_signals"]

CLASSES = frozenset({"cross_entropy", "nll_loss"})
PROBABILITIES = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
# Losses whose labels are -1 and 1, and autograd operations whose result is never negative.
SIGNED = frozenset(
    {"hinge_embedding_loss", "cosine_embedding_loss", "margin_ranking_loss", "soft_margin_loss"}
)
POSITIVE = ("softplus", "exp", "relu", "threshold", "sigmoid", "abs")
# Optimizers that divide a gradient by its size: a loss that is a multiple of another is the same to them.
SCALE_FREE = frozenset({"adam", "rmsprop", "adagrad"})


def mismatch_signals(recording: Recording) -> dict[str, Series]:
    """Return one exact flag for each way in which head and loss disagree (mechanisms.md 2.14)."""
    losses = recording.losses
    if not losses:
        return {}
    layer = Counter(call.layer for call in losses).most_common(1)[0][0]
    level = run_series(recording, "loss")
    told = dict(
        zip(level.steps.tolist(), np.where(level.observed, level.values, np.nan), strict=True)
    )
    summed = [_is_sum(c) and not _is_divided(c, told.get(c.step)) for c in losses]
    # What is not a number has no form.
    formed = [c for c in losses if not np.isnan(_low(c))]
    tests = _MISMATCHES.items() if formed else ()
    shares = {name: [test(c) for c in formed] for name, test in tests}
    if not all(o.family in SCALE_FREE for o in recording.optimizers):
        shares["sum"] = summed
    out = {
        f"loss_{name}": _located(recording, float(np.mean(found)), layer)
        for name, found in shares.items()
    }
    return out | {"loss_broadcast": _blown_up(recording)}


def _blown_up(recording: Recording) -> Series:
    """Return how often shapes broadcast in the loss at the output where they do so most: it may have several terms."""
    by_layer: dict[int, list[bool]] = {}
    for call in recording.losses:
        by_layer.setdefault(call.layer, []).append(_flag(call, "shape_mismatch"))
    shares = {layer: float(np.mean(found)) for layer, found in by_layer.items()}
    layer = max(shares, key=lambda layer: shares[layer])
    return _located(recording, shares[layer], layer)


def _located(recording: Recording, value: float, layer: int) -> Series:
    """Return a fact about the layer that made the prediction; run-wide where that is not known."""
    step = recording.losses[0].step
    if layer < 0:
        return scalar_series(step, value)
    owner = int(owners(recording.topology)[layer])
    return Series(np.array([step]), np.array([[value]]), np.array([[True]]), (owner,))


def _flag(call: LossCall, key: str) -> bool:
    return bool(call.facts.get(key) or False)


def _low(call: LossCall) -> float:
    value = call.facts.get("input_min")
    return float(value) if isinstance(value, (int, float)) else -1.0


def _high(call: LossCall) -> float:
    value = call.facts.get("input_max")
    return float(value) if isinstance(value, (int, float)) else 2.0


def _maker(call: LossCall) -> str:
    """Return the operation that made the prediction, empty where autograd did not say."""
    return str(call.facts.get("made_by") or "")


def _is_softmax_twice(call: LossCall) -> bool:
    return call.function == "cross_entropy" and _flag(call, "input_rows_sum_to_one")


def _is_nll_on_raw(call: LossCall) -> bool:
    if call.function in {"ctc_loss", "kl_div"}:
        # No logarithm of a probability is above zero, and those of one row are of all there is.
        above = "input_max" in call.facts and _high(call) > 1e-3
        return above or not call.facts.get("input_log_probabilities", True)
    if call.function == "poisson_nll_loss":
        # What was made positive is a rate, and taken for the logarithm of one.
        return _low(call) >= 0.0 and _maker(call).startswith(POSITIVE)
    if call.function == "poisson_nll_loss of rates":
        # A rate cannot be negative: this is its logarithm.
        return "input_min" in call.facts and _low(call) < 0.0
    return call.function == "nll_loss" and not _flag(call, "input_log_probabilities")


def _is_sigmoid_twice(call: LossCall) -> bool:
    if call.function != "binary_cross_entropy_with_logits":
        return False
    maker = _maker(call)
    return maker == "sigmoid" if maker else _low(call) >= 0.0 and _high(call) <= 1.0


def _is_rectified(call: LossCall) -> bool:
    maker = _maker(call)
    return (
        call.function in {"cross_entropy", "binary_cross_entropy_with_logits"}
        and _low(call) >= 0.0
        and (not maker or maker.startswith(("relu", "threshold", "clamp", "hardtanh")))
        and not _flag(call, "input_rows_sum_to_one")
        and not _is_sigmoid_twice(call)
    )


def _is_unsigned(call: LossCall) -> bool:
    """Return whether labels are 0 and 1 where a loss takes -1 and 1: of the zeros it learns nothing, or the wrong thing."""
    low, high = call.facts.get("target_min"), call.facts.get("target_max")
    return call.function in SIGNED and low == 0.0 and high == 1.0


def _is_of_one(call: LossCall) -> bool:
    """Return whether the output is one class of one, and so the same whatever the input."""
    if call.function in CLASSES:
        return call.facts.get("classes") == 1
    return _maker(call) == "softmax" and _low(call) == _high(call) == 1.0


# Targets of which the bulk, so many deviations around the mean, lies in a range, and none further outside than so many.
# Data that are spread evenly or normally about an end of the range are beyond it with their bulk.
BULK, TAIL = 1.5, 3.0
# What a nonlinearity at the very end lets through.
_RANGES = {
    "relu": (0.0, np.inf),
    "threshold": (0.0, np.inf),
    "softplus": (0.0, np.inf),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
}


def _is_bounded(call: LossCall) -> bool:
    """Return whether the output cannot reach its target: logits in a corridor, targets outside the range."""
    maker = _maker(call)
    if call.function in PROBABILITIES:
        # Its targets are probabilities, and so is what the output becomes.
        maker = "sigmoid"
    elif maker not in _RANGES or call.function not in REGRESSION:
        return call.function == "cross_entropy" and maker in {"tanh", "hardtanh", "sigmoid"}
    return _is_beyond(call, *_RANGES[maker])


def _is_beyond(call: LossCall, low: float, high: float) -> bool:
    """Return whether targets lie outside a range, and not by a tail of noise that stands out of it a little."""
    least, most, mean, std = (
        x if isinstance(x := call.facts.get(f"target_{name}"), (int, float)) else math.nan
        for name in ("min", "max", "mean", "std")
    )
    if math.isnan(least) or math.isnan(most):
        return False
    slack = 0.05 * max(most - least, 1e-12)
    below, above = (low - least, mean - BULK * std), (most - high, mean + BULK * std)
    return any(
        out > slack and not (out <= TAIL * std and low - slack <= edge <= high + slack)
        for out, edge in (below, above)
    )


def _is_sum(call: LossCall) -> bool:
    return call.facts.get("reduction") == "sum"


def _is_divided(call: LossCall, level: float | None) -> bool:
    """Return whether the loop divided what a loss function summed: the loss of the step is a fraction of it."""
    value, rows = call.facts.get("value"), call.facts.get("rows")
    if level is None or not isinstance(value, (int, float)) or not isinstance(rows, int):
        return False
    return rows > 1 and 0.0 < 2.0 * level <= value and level <= 4.0 * value / rows


_MISMATCHES = {
    "softmax_twice": _is_softmax_twice,
    "nll_on_raw": _is_nll_on_raw,
    "sigmoid_twice": _is_sigmoid_twice,
    "rectified": _is_rectified,
    "bounded": _is_bounded,
    "unsigned": _is_unsigned,
    "of_one": _is_of_one,
}
