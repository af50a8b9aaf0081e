"""Signals of gradients: depth slopes, breaks, bursts, clipping, and gradients that were never cleared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.along import along_sequences
from neuraldbg.signals.newborn import behind_newborns
from neuraldbg.signals.robust import any_row, robust_z
from neuraldbg.signals.scale import SAME_NORM, after_over_before, spread, unscaling
from neuraldbg.signals.view import (
    chain_layers,
    column,
    gradient_norms,
    layer_series,
    run_series,
    sampled_rows,
    scalar_series,
)

__all__ = ["FEW", "gradient_signals", "total_gradient"]

Array = NDArray[np.float64]
# Sampled steps from which on it is no accident that gradients are gone.
FEW = 4


def gradient_signals(recording: Recording) -> dict[str, Series]:
    """Return gradient signals of the run and of its layers."""
    out = {**_depth(recording), **_level(recording), **_clipping(recording)}
    residual = run_series(recording, "residual")
    # The first two steps have nothing to clear.
    out["gradients_thrown_away"] = _thrown_away(recording)
    out["uncleared"] = residual._replace(observed=residual.observed & (residual.steps >= 1))
    time_slope = layer_series(recording, "time_grad_slope")
    out["time_decay"] = time_slope
    out["time_growth"] = time_slope._replace(values=-time_slope.values)
    out |= along_sequences(recording)
    return {name: series for name, series in out.items() if series.observed.any()}


def total_gradient(recording: Recording) -> tuple[Array, NDArray[np.bool_]]:
    """Return a gradient norm comparable over all steps and whether it was seen, shape ``(T,)``.

    Between sampled steps only the gradients of two probes are measured, so the norm is over those
    parameters that were seen whenever any was.
    """
    shape = (recording.steps.size, len(recording.topology.params))
    values, observed = column(recording.grad, "grad_norm", shape)
    seen = any_row(observed)
    always = observed[seen].mean(axis=0) > 0.9 if seen.any() else np.zeros(shape[1], bool)
    squares = np.where(observed & always, values.astype(np.float64), 0.0) ** 2
    bad = any_row(observed & ~np.isfinite(values))
    return np.where(bad, np.nan, np.sqrt(squares.sum(axis=1))), seen


def _depth(recording: Recording) -> dict[str, Series]:
    """Return how the output gradient changes with depth, per layer and over the whole chain."""
    delta = layer_series(recording, "out_grad_norm")
    chain = [i for i in chain_layers(recording.topology) if delta.observed[:, i].any()]
    if len(chain) < 2:
        return {}
    values, seen = (
        delta.values[:, chain],
        delta.observed[:, chain] & np.isfinite(delta.values[:, chain]),
    )
    seen &= ~behind_newborns(recording)[:, chain]
    logs = np.log(np.maximum(values, 1e-38))
    alive = seen & (values > 0)
    reference = np.max(np.where(alive, logs, -np.inf), axis=1, keepdims=True)
    # Where the chain gets none at all and others do, it is at an end before the chain.
    known = np.isfinite(reference[:, 0])
    below = np.where(known[:, None], reference - logs, 0.0) / np.log(10.0)
    out = {
        "gradient_decades_below": Series(delta.steps, below, alive & known[:, None], tuple(chain)),
        "gradient_zero": Series(
            delta.steps,
            ((values == 0) & (known | _any_moves(recording, delta.steps))[:, None]).astype(float),
            seen,
            tuple(chain),
        ),
    }
    slope, total, judged = _slope(logs, alive)
    if len(chain) >= 3:
        out["gradient_decay"] = Series(delta.steps, total, judged)
        out["gradient_amplification"] = Series(delta.steps, -total, judged)
        out["gradient_slope"] = Series(delta.steps, slope, judged)
    return out


def _any_moves(recording: Recording, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return at which of these steps some parameter had a gradient that is not zero."""
    norms, seen = gradient_norms(recording)
    return np.isin(steps, recording.steps[any_row(seen & (norms > 0))])


def _slope(logs: Array, alive: NDArray[np.bool_]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return least-squares slope in nats a layer, its rise over the chain, and where it is defined."""
    count = alive.sum(axis=1)
    judged = count >= 3
    depth = np.arange(logs.shape[1], dtype=np.float64)
    n = np.maximum(count, 1)
    x_mean = (alive * depth).sum(axis=1) / n
    y_mean = np.where(alive, logs, 0.0).sum(axis=1) / n
    dx = np.where(alive, depth - x_mean[:, None], 0.0)
    dy = np.where(alive, logs - y_mean[:, None], 0.0)
    slope = (dx * dy).sum(axis=1) / np.maximum((dx**2).sum(axis=1), 1e-12)
    return slope, slope * (logs.shape[1] - 1), judged


def _level(recording: Recording) -> dict[str, Series]:
    total, seen = total_gradient(recording)
    if not seen.any():
        return {}
    steps, finite = recording.steps, np.isfinite(total)
    logs = np.log(np.where(finite & (total > 0), total, np.nan))
    z = robust_z(np.where(seen, logs, np.nan), floor=0.25)
    return {
        "gradient_burst": Series(steps, z, seen),
        "gradient_nonfinite": Series(steps, (~finite).astype(float), seen),
        "gradient_growth": _growth(steps, logs, seen),
        "gradient_absent": _absent(recording),
    }


def _absent(recording: Recording) -> Series:
    """Return the share of sampled steps in which nothing has a gradient although something is left of the loss, as a scalar.

    Of a margin that every pair keeps, loss and gradient are zero together.
    """
    rows = sampled_rows(recording)
    norms, seen = gradient_norms(recording, rows)
    loss = run_series(recording, "loss")
    solved = (loss.observed & (loss.values == 0))[rows]
    judged = any_row(seen) & ~solved
    absent = judged & ~any_row(seen & (norms != 0))
    share = absent.sum() / max(judged.sum(), 1)
    return scalar_series(int(recording.steps[0]), float(share))


def _thrown_away(recording: Recording) -> Series:
    """Return the share of sampled steps whose backward pass left gradients that were gone when the optimizer stepped."""
    rows = sampled_rows(recording)
    whole = run_series(recording, "grad_norm_raw")
    left = (whole.observed & (whole.values > 0))[rows]
    norms, seen = gradient_norms(recording, rows)
    gone = left & ~any_row(seen & (norms != 0)) & _rests(recording)
    found = scalar_series(int(recording.steps[0]), float(gone.sum() / max(left.sum(), 1)))
    return found if left.sum() >= FEW else found._replace(observed=np.array([False]))


def _rests(recording: Recording) -> NDArray[np.bool_]:
    """Return in which sampled steps an optimizer changed no weight by more than it decays them, shape ``(S,)``."""
    rows, shape = sampled_rows(recording), (recording.sampled.size, len(recording.topology.params))
    change, seen = column(recording.param, "update_ratio", shape)
    decay = np.ones(rows.size)
    for name in ("lr", "weight_decay"):
        found = recording.group.get(name)
        decay *= (
            0.0 if found is None else np.where(found.observed, found.values, 0.0).max(axis=1)[rows]
        )
    return any_row(seen) & ~any_row(seen & (change > 2.0 * decay[:, None]))


def _growth(steps: NDArray[np.int64], logs: Array, seen: NDArray[np.bool_]) -> Series:
    """Return decades between the late and the early gradient norm."""
    rows = np.flatnonzero(seen & np.isfinite(logs))
    usable = logs[rows]
    if usable.size < 16:
        return scalar_series(int(steps[0]), 0.0)._replace(observed=np.array([False]))
    k = max(4, usable.size // 10)
    rise = float(np.median(usable[-k:]) - np.median(usable[:k])) / np.log(10.0)
    # Known at the late end: it must not look like something that was there from the start.
    return scalar_series(int(steps[rows[-k]]), rise)


def _clipping(recording: Recording) -> dict[str, Series]:
    ratio, level = after_over_before(recording)
    if ratio.size < 3:
        return {}
    ratio = ratio / unscaling(recording)
    clipped = ratio < 0.99
    raw = run_series(recording, "grad_norm_raw")
    start = int(raw.steps[raw.observed][0])
    # A constant norm after the change is a clip; a constant ratio is an unscaling, not a clip.
    constant = clipped.mean() > 0.9 and spread(level) < SAME_NORM
    return {
        "clip_strength": scalar_series(start, 1.0 / max(float(np.median(ratio)), 1e-12)),
        "clip_share": scalar_series(start, float(clipped.mean())),
        "clip_constant": scalar_series(start, float(constant)),
    }
