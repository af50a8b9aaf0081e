"""The loss of the best answer that ignores its input: what a loss has to fall below before anything is learned."""

from __future__ import annotations

import math

import numpy as np

from neuraldbg.records.recording import LossCall, Recording
from neuraldbg.signals.view import run_series

__all__ = [
    "chance",
    "class_counts",
    "guessing_loss",
    "label_entropy",
    "start_over_silence",
    "unexplained",
]

# The loss is that of the function itself, not a multiple of it or one term of several, if it is as near.
SAME = 0.02
# Logits no larger than that cost about log(2) each, unless one class weighs more than the other.
SMALL, NEAR_CHANCE = 0.6, 0.15
# Targets are other ones if they spread so many times as much.
SPREAD = 1.5
# Functions that are a square near zero, and what they have to be multiplied by for that.
SQUARES = {"mse_loss": 1.0, "smooth_l1_loss": 2.0, "huber_loss": 2.0}
_CATEGORICAL = frozenset({"cross_entropy", "nll_loss"})


def label_entropy(losses: tuple[LossCall, ...]) -> float | None:
    """Return the mean entropy of the labels in nats, None if no classification loss was seen."""
    return _mean(losses, "label_entropy")


def guessing_loss(recording: Recording) -> float | None:
    """Return the loss of the best constant answer of a regression or of yes and no; None if that is not known.

    It is the variance of the targets, or the entropy of their mean, and may be far below the first loss: that
    a network has found the mean of its targets is no sign that it has learned from its input.
    """
    calls = _paired(recording)
    name = _alone(recording, calls)
    if name == "mse_loss":
        variances = [_number(c, "target_std") ** 2 for c in calls]
        return _positive(float(np.mean(variances)))
    if name == "binary_cross_entropy_with_logits" and _is_even_handed(calls[0]):
        share = _mean(tuple(calls), "target_mean")
        return None if share is None else _positive(_entropy(share))
    return None


def chance(recording: Recording) -> float | None:
    """Return the loss of a guess among the classes of a classification, None where its loss is not just the cross entropy.

    A network may be far more wrong than that at its start, and what is left of that is no sign that it has learned.
    """
    counts = class_counts(recording)
    alone = _alone(recording, _paired(recording)) == "cross_entropy"
    return math.log(max(counts)) if counts and alone else None


def class_counts(recording: Recording) -> list[int]:
    """Return among how many classes the calls of a categorical loss chose, in order of time."""
    counts = [c.facts.get("classes") for c in recording.losses if c.function in _CATEGORICAL]
    return [n for n in counts if isinstance(n, int) and n > 1]


def start_over_silence(recording: Recording) -> float | None:
    """Return the first loss of a regression over that of an answer of zero; None if that is not known.

    Outputs of a network at its start are small beside targets that fit it. The mean of the targets belongs to both:
    what is far from zero is no sign of a network that answers too loudly.
    """
    calls = _paired(recording)
    if _alone(recording, calls) != "mse_loss":
        return None
    first = calls[0]
    silence = _number(first, "target_std") ** 2 + _number(first, "target_mean") ** 2
    return _positive(_number(first, "value") / silence) if silence > 0 else None


def unexplained(recording: Recording) -> float | None:
    """Return what is left of the variance of targets that spread more and more; None if they do not, or it is not known.

    Values of states are made of the values of others: they begin at nothing and come apart as the policy learns, and
    so do the errors.
    """
    calls = [c for c in recording.losses if "value" in c.facts]
    name = _alone(recording, calls)
    if name not in SQUARES:
        return None
    first, last = _number(calls[0], "target_std"), _number(calls[-1], "target_std")
    share = SQUARES[name] * _number(calls[-1], "value") / max(last**2, 1e-12)
    return share if last >= SPREAD * first and math.isfinite(share) else None


def _paired(recording: Recording) -> list[LossCall]:
    """Return the calls whose value is known and that compare each output with its own target."""
    return [c for c in recording.losses if "value" in c.facts and not c.facts.get("shape_mismatch")]


def _alone(recording: Recording, calls: list[LossCall]) -> str:
    """Return the only loss function of a run, if its value is the loss; empty if there are others or other terms."""
    names = {c.function for c in recording.losses}
    return names.pop() if len(names) == 1 and _is_the_loss(recording, calls) else ""


def _is_the_loss(recording: Recording, calls: list[LossCall]) -> bool:
    loss = run_series(recording, "loss")
    at = dict(zip(loss.steps[loss.observed].tolist(), loss.values[loss.observed], strict=True))
    known = [(at[c.step], _number(c, "value")) for c in calls if c.step in at]
    ratios = [total / part for total, part in known if part > 0 and math.isfinite(total)]
    return bool(ratios) and abs(float(np.median(ratios)) - 1.0) < SAME


def _is_even_handed(call: LossCall) -> bool:
    """Return whether both answers weigh the same, as far as a first loss of small logits tells."""
    small = _number(call, "input_std") < SMALL
    inside = _number(call, "target_min") >= 0 and _number(call, "target_max") <= 1
    return small and inside and abs(_number(call, "value") / math.log(2) - 1.0) < NEAR_CHANCE


def _entropy(share: float) -> float:
    parts = [p for p in (share, 1.0 - share) if p > 0]
    return -sum(p * math.log(p) for p in parts)


def _positive(value: float) -> float | None:
    return value if math.isfinite(value) and value > 0 else None


def _mean(losses: tuple[LossCall, ...], name: str) -> float | None:
    values = [call.facts.get(name) for call in losses]
    found = [float(v) for v in values if isinstance(v, (int, float))]
    return float(np.mean(found)) if found else None


def _number(call: LossCall, name: str) -> float:
    value = call.facts.get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan
