"""Signals of the data: scale of the inputs and targets, and batches unlike the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from neuraldbg.records.recording import LossCall, Recording, behind_parameters
from neuraldbg.records.signals import Series
from neuraldbg.signals.robust import robust_z
from neuraldbg.signals.structure import normalized_after
from neuraldbg.signals.view import layer_series, run_series, scalar_series

__all__ = ["REGRESSION", "Fed", "data_signals", "fed_layers", "regressions", "worst_fed"]

Array = NDArray[np.float64]
# Steps around a spike whose targets may be bad as well.
NEARBY = 8
# Losses whose graph keeps the target: what the batch of a spike was asked for can be told afterwards.
KEPT = frozenset({"mse_loss", "smooth_l1_loss", "huber_loss"})
REGRESSION = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "difference"})


def data_signals(recording: Recording) -> dict[str, Series]:
    """Return signals of inputs and targets."""
    out = {**_inputs(recording), **_anomaly(recording), **_targets(recording)}
    return {name: series for name, series in out.items() if series.observed.any()}


def _inputs(recording: Recording) -> dict[str, Series]:
    out = {"input_nonfinite": run_series(recording, "input_nonfinite")}
    fed = fed_layers(recording)
    if not fed:
        return out | _called_with(recording)
    first = int(recording.sampled[0])
    worst = worst_fed(recording, fed)
    return out | {name: scalar_series(first, value) for name, (value, _) in worst.items()}


def worst_fed(recording: Recording, fed: Sequence[Fed]) -> dict[str, tuple[float, str]]:
    """Return, by signal of the inputs, what is worst and the layer that is fed it.

    Parameters
    ----------
    recording, fed
        The run, and what its layers are fed.
    """
    multiplied = [x for x in fed if x.kind != "norm"]
    # What is normalized at once may have any scale, but no offset, and no feature that hides the others.
    free = normalized_after(recording.topology)
    found: dict[str, tuple[float, str]] = {}
    for name, measure in _FED.items():
        fits = free if name in _SCALES else frozenset[str]()
        values = [(1.0 if x.layer in fits else measure(x), x.layer) for x in multiplied]
        known = [(value, layer) for value, layer in values if value is not None]
        if known:
            found[name] = max(known, key=lambda pair: pair[0])
    return found


class Fed(NamedTuple):
    """What a layer is fed that no parameter has touched; medians over the first sampled steps.

    ``spread`` is the largest deviation of a feature over the smallest, None where there are too few to tell.
    """

    layer: str
    kind: str
    mean: float
    std: float
    spread: float | None

    @property
    def rms(self) -> float:
        """Root mean square."""
        return float(np.hypot(self.mean, self.std))


# What is judged of the data; the worst layer counts.
_FED: dict[str, Callable[[Fed], float | None]] = {
    "input_scale": lambda x: x.rms,
    "input_scale_small": lambda x: 1.0 / max(x.rms, 1e-12),
    "input_offset": lambda x: abs(x.mean) / x.std if x.std > 0 else 0.0,
    "input_feature_spread": lambda x: x.spread,
}
_SCALES = frozenset({"input_scale", "input_scale_small"})


def fed_layers(recording: Recording) -> tuple[Fed, ...]:
    """Return the layers that data is fed to; what a model does to its inputs before does not count.

    Parameters
    ----------
    recording
        The run. What comes from layers with parameters is no data.
    """
    behind = behind_parameters(recording.topology.layers, recording.topology.edges)
    mean, std, spread = (
        layer_series(recording, name) for name in ("fed_mean", "fed_std", "fed_spread")
    )
    found = []
    for index, layer in enumerate(recording.topology.layers):
        seen = mean.observed[:, index] & std.observed[:, index]
        if index in behind or not seen.any():
            continue
        wide = spread.values[spread.observed[:, index], index]
        found.append(
            Fed(
                layer=layer.name,
                kind=layer.kind,
                mean=float(np.median(mean.values[seen, index])),
                std=float(np.median(std.values[seen, index])),
                spread=float(np.median(wide)) if wide.size else None,
            )
        )
    return tuple(found)


def _called_with(recording: Recording) -> dict[str, Series]:
    """Return the same of the first input of the model, for programs in which no layer was seen to be fed it."""
    mean, std = run_series(recording, "input_mean"), run_series(recording, "input_std")
    seen = mean.observed & std.observed & np.isfinite(mean.values) & np.isfinite(std.values)
    if not seen.any():
        return {}
    rms = float(np.median(np.hypot(mean.values[seen], std.values[seen])))
    spread = float(np.median(std.values[seen]))
    offset = float(np.median(np.abs(mean.values[seen])) / max(spread, 1e-12))
    first = int(mean.steps[seen][0])
    out = {
        "input_scale": scalar_series(first, rms),
        "input_scale_small": scalar_series(first, 1.0 / max(rms, 1e-12)),
        "input_offset": scalar_series(first, offset if spread > 0 else 0.0),
    }
    feature = run_series(recording, "input_feature_spread")
    if (widest := feature.values[feature.observed]).size:
        out["input_feature_spread"] = scalar_series(first, float(np.median(widest)))
    return out


def _anomaly(recording: Recording) -> dict[str, Series]:
    """Return the largest robust z of the moments of each batch, and whether the change lasts."""
    z = np.zeros(recording.steps.size)
    seen = np.zeros(recording.steps.size, bool)
    for name, logarithm, floor in _MOMENTS:
        series = run_series(recording, name)
        usable = series.observed & np.isfinite(series.values)
        if usable.sum() < SHORTEST_HISTORY:
            continue
        x = np.log(np.abs(series.values) + 1e-6) if logarithm else series.values
        # A few quiet batches are no measure of the noise: the spread of the whole run is its floor. A
        # share that is zero on most batches has no median deviation; its plain one must serve.
        spread = float(np.std(x[usable]))
        typical = float(median_abs_deviation(x[usable], scale="normal")) or spread
        scale = max(typical, 0.1 * spread, floor)
        score = np.abs(robust_z(np.where(usable, x, np.nan), floor=scale))
        z, seen = np.maximum(z, score), seen | usable
    if not seen.any():
        return {}
    return {"input_anomaly": Series(recording.steps, z, seen)}


# Column, whether its logarithm is judged, and the smallest deviation believed (nats, or plain units).
_MOMENTS = (
    ("input_std", True, 0.1),
    ("input_absmax", True, 0.15),
    ("input_mean", False, 1e-6),
    ("input_zero_share", False, 0.02),
    ("input_int_zero_share", False, 0.02),
    ("input_int_mean", False, 1e-6),
    ("input_int_std", False, 1e-6),
)
SHORTEST_HISTORY = 12


def _numbers(losses: tuple[LossCall, ...], key: str) -> tuple[NDArray[np.int64], Array]:
    found = [
        (call.step, float(value))
        for call in losses
        if isinstance(value := call.facts.get(key), (int, float)) and np.isfinite(float(value))
    ]
    steps = np.array([s for s, _ in found], np.int64)
    return steps, np.array([v for _, v in found], np.float64)


def regressions(recording: Recording) -> tuple[LossCall, ...]:
    """Return the calls of regression losses, and the differences that a loss written by hand begins with.

    In a program that differentiates its output (an equation of physics) a difference is a residual, and what is
    taken off is no target.
    """
    by_hand = not recording.facts.get("differentiates")
    return tuple(
        c
        for c in recording.losses
        if c.function in REGRESSION and (by_hand or c.function != "difference")
    )


def _targets(recording: Recording) -> dict[str, Series]:
    losses = recording.losses
    regression = regressions(recording)
    out: dict[str, Series] = {}
    steps, mean = _numbers(regression, "target_mean")
    _, std = _numbers(regression, "target_std")
    if mean.size and mean.size == std.size:
        size = float(np.median(np.hypot(mean, std)))
        out["target_scale"] = scalar_series(int(steps[0]), size)
        out["target_scale_small"] = scalar_series(int(steps[0]), 1.0 / max(size, 1e-12))
        if all(call.function in KEPT for call in regression):
            out["target_anomaly"] = _wild_targets(recording, steps, np.hypot(mean, std))
    steps, bad = _numbers(losses, "target_nonfinite")
    if bad.size:
        out["target_nonfinite"] = Series(steps, bad, np.ones(bad.size, bool))
    steps, entropy = _numbers(losses, "label_entropy")
    if entropy.size >= 12:
        score = np.abs(robust_z(entropy, floor=0.1))
        out["label_anomaly"] = Series(steps, score, np.ones(score.size, bool))
    steps, wrong = _numbers(losses, "confident_wrong")
    if wrong.size:
        out["confident_wrong"] = scalar_series(int(steps[0]), float(np.median(wrong[-5:])))
    steps, conflict = _numbers(losses, "label_conflict")
    if conflict.size:
        out["label_conflict"] = scalar_series(int(steps[0]), float(conflict.max()))
    return out


def _wild_targets(recording: Recording, steps: NDArray[np.int64], sizes: Array) -> Series:
    """Return how many times larger targets were, where the loss stood out, than all that were seen elsewhere.

    Targets may grow: those of a value that is learned from itself do.
    """
    spikes = [o for o in recording.occurrences if o.kind == "loss_spike" and o.step > steps[0]]
    at = np.array([o.step for o in spikes], np.int64)
    moments = [[float(o.facts[f"target_{k}"] or 0.0) for k in ("mean", "std")] for o in spikes]
    apart = (np.abs(steps[:, None] - at[None, :]) > NEARBY).all(axis=1)
    usual = float(sizes[apart].max()) if apart.any() else float(sizes.max())
    ratio = np.linalg.norm(np.array(moments).reshape(-1, 2), axis=1) / max(usual, 1e-12)
    seen = np.append(steps[:1], at)
    return Series(seen, np.append(1.0, ratio), np.ones(seen.size, bool))
