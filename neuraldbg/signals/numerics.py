"""Signals of numerics: where and how the first non-finite value was born, and precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Occurrence, Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.context import computes_in_float16
from neuraldbg.signals.mismatch import SCALE_FREE
from neuraldbg.signals.view import layer_max, layer_series, owners, run_series, scalar_series

__all__ = ["numeric_signals"]

SINGULAR_OPS = (
    "log",
    "sqrt",
    "div",
    "pow",
    "acos",
    "asin",
    "reciprocal",
    "rsqrt",
    "norm",
    "atan2",
    # Of a row in which every entry is minus infinity.
    "softmax",
)
# The largest float16 (IEEE 754).
HALF_MAX = 65504.0
# Half of the smallest one above zero: what is no larger rounds to zero.
HALF_ZERO = 2.0**-25
# The smallest itself, and by how much the size of a gradient is believed to be below it where all of it is zero.
HALF_LEAST, FAR_BELOW = 2.0**-24, 1e3


def numeric_signals(recording: Recording) -> dict[str, Series]:
    """Return non-finite signals: one series for every kind of birth that was seen."""
    out: dict[str, Series | None] = {**_nothing_happened(recording)}
    for occurrence in recording.occurrences:
        name = occurrence.kind
        if name in _KINDS:
            out[name] = _at(occurrence, 1.0)
    out |= _born(recording) | _in_half(recording)
    for name in ("risky_op", "detached"):
        if (first := _first(recording, name)) is not None:
            out[name] = _at(first, 1.0)
    # Something was born: what is not known of it is not known to be otherwise.
    return {name: series for name, series in out.items() if series is not None}


def _born(recording: Recording) -> dict[str, Series | None]:
    """Return what is known of how the first non-finite value was made; None for what is not."""
    birth = _first(recording, "nonfinite_forward") or _first(recording, "nonfinite_gradient")
    spoilt = _first(recording, "nonfinite_parameter")
    if birth is not None:
        singular, half = _singular(birth), _half(recording, birth)
        return {
            "nonfinite_singular_op": None if singular is None else _at(birth, float(singular)),
            "nonfinite_half": None if half is None else _at(birth, float(half)),
            "growth_before_nonfinite": scalar_series(birth.step, _growth(recording, birth.step)),
        }
    if spoilt is not None:
        return {"nonfinite_step": scalar_series(spoilt.step, float(_loses_epsilon(recording)))}
    return {}


def _in_half(recording: Recording) -> dict[str, Series | None]:
    """Return where numbers went beyond float16 unseen, and how near gradients are to the least that it holds."""
    beyond, half = layer_series(recording, "half_overflow"), layer_series(recording, "grad_is_half")
    size, owner = layer_series(recording, "out_grad_rms"), owners(recording.topology)
    out: dict[str, Series | None] = {}
    if beyond.observed.any():
        out["half_overflow"] = layer_max(beyond.steps, beyond.values, beyond.observed, owner)
    if half.observed.any():
        least = HALF_LEAST / np.maximum(size.values, HALF_LEAST / FAR_BELOW)
        known = half.observed & size.observed & np.isfinite(size.values)
        out["half_gradient_small"] = layer_max(
            half.steps, np.where(known, least, 0.0), known, owner
        )
    return out


_KINDS = frozenset(
    {
        "nonfinite_input",
        "nonfinite_target",
        "nonfinite_forward",
        "nonfinite_gradient",
        "nonfinite_parameter",
        "step_skipped",
    }
)


def _singular(birth: Occurrence) -> bool | None:
    """Return whether a value was born at a singular point of its operation; None if that was not seen."""
    operation = str(birth.facts.get("op") or "").lower()
    return operation.startswith(SINGULAR_OPS) if operation else None


def _half(recording: Recording, birth: Occurrence) -> bool | None:
    """Return whether a value was born beyond the range of float16; None if that was not seen.

    In a backward pass the operation is not seen. Where it starts from a number that a float16 does not hold,
    gradients in half precision overflow.
    """
    if "half" in birth.facts:
        return bool(birth.facts["half"])
    if not computes_in_float16(recording):
        return None
    loss = run_series(recording, "loss")
    start = loss.values[loss.observed & (loss.steps == birth.step)]
    beyond = birth.kind == "nonfinite_gradient" and bool((np.abs(start) > HALF_MAX).any())
    return True if beyond else None


def _loses_epsilon(recording: Recording) -> bool:
    """Return whether an optimizer divides by roots of float16 numbers and its epsilon is zero among these."""
    params = recording.topology.params
    return any(
        optimizer.family in SCALE_FREE
        and 0.0 < float(optimizer.defaults.get("eps") or 0.0) <= HALF_ZERO
        and any(p.dtype == "float16" and p.group in optimizer.groups for p in params)
        for optimizer in recording.optimizers
    )


def _first(recording: Recording, kind: str) -> Occurrence | None:
    return next((o for o in recording.occurrences if o.kind == kind), None)


def _nothing_happened(recording: Recording) -> dict[str, Series]:
    """Return zeros for what was watched for at every step and would have been noted."""
    if recording.steps.size == 0 or not recording.facts.get("exact_numerics", True):
        return {}
    quiet = scalar_series(int(recording.steps[0]), 0.0)
    return dict.fromkeys(
        (
            *_KINDS,
            "nonfinite_singular_op",
            "nonfinite_half",
            "nonfinite_step",
            "risky_op",
            "detached",
        ),
        quiet,
    )


def _at(occurrence: Occurrence, value: float) -> Series:
    if occurrence.layer < 0:
        return scalar_series(occurrence.step, value)
    return Series(
        np.array([occurrence.step]),
        np.array([[value]]),
        np.array([[True]]),
        (occurrence.layer,),
    )


def _growth(recording: Recording, step: int) -> float:
    """Return decades by which the loss, a gradient or an activation grew before the first NaN.

    A diverging run passes through many decades before it overflows; a singular operation, bad data or a
    half-precision overflow does not (mechanisms.md table 4A). What activations gain while a model learns is behind it
    by then: they are compared with those of the second quarter, or of the first half where there are none.
    """
    loss = run_series(recording, "loss")
    before = loss.observed & (loss.steps < step) & np.isfinite(loss.values) & (loss.values > 0)
    rise = 0.0
    if before.any():
        values = loss.values[before]
        rise = float(np.log10(values[-3:].max() / np.median(values[: max(1, values.size // 4)])))
    peak = layer_series(recording, "act_absmax")
    rows = peak.steps <= step
    if rows.any():
        seen = peak.observed[rows] & np.isfinite(peak.values[rows]) & (peak.values[rows] > 0)
        largest = np.where(seen, peak.values[rows], 0.0).max(axis=1)
        rise = max(rise, _gain(peak.steps[rows], largest, step))
    return rise


def _gain(steps: NDArray[np.int64], sizes: NDArray[np.float64], last: int) -> float:
    """Return decades from the usual size of the second quarter of the steps up to the last to the largest of all."""
    known = (sizes > 0) & (steps <= last / 2)
    before = sizes[known & (steps >= last / 4)]
    before = before if before.size else sizes[known]
    return float(np.log10(sizes.max() / np.median(before))) if before.size else 0.0
