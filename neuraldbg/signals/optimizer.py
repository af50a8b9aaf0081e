"""Signals of the optimizer: its schedule, its configuration, and what a step was predicted to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.loss import has_level, initial_loss
from neuraldbg.signals.robust import any_row
from neuraldbg.signals.scale import loss_series
from neuraldbg.signals.view import (
    column,
    gradient_norms,
    reached,
    run_series,
    sampled_rows,
    scalar_series,
    table_params,
)

__all__ = ["optimizer_signals"]

Array = NDArray[np.float64]
# PyTorch's optimizers that add the decay to the gradient and divide the sum; AdamW and its like do not.
DIVIDE_DECAY = frozenset({"Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta"})
# A rate that rose for so many steps and then is less than this share of itself has fallen at once.
CLIMB, FALL = 8, 0.1
# Those and the others of which it is known how the decay of the settings moves a weight; from this share on it
# dominates, as the detector has it.
OF_TORCH = DIVIDE_DECAY | {
    "SGD",
    "AdamW",
    "ASGD",
    "LBFGS",
    "Rprop",
    "SparseAdam",
    "Adafactor",
    "Muon",
}
DOMINATES = 0.5
# A rate of this share of its peak is none.
HELD = 1e-6
# Shares of its peak below which a rate has as good as gone, and what time there counts: a fiftieth still moves something,
# and two thirds of a run there are what a quarter is below 0.2 %.
SPENT = ((2e-3, 1.0), (2e-2, 3 / 8))
# Backward passes before the first optimizer step that may be its accumulation.
LONGEST_ACCUMULATION = 64


def optimizer_signals(recording: Recording) -> dict[str, Series]:
    """Return schedule, momentum, decay and predicted-change signals."""
    out = {
        **_schedule(recording),
        **_momentum(recording),
        **_decay(recording),
        **_predicted(recording),
    }
    stepped = run_series(recording, "stepped")
    if stepped.observed.any():
        missing = stepped._replace(values=_lasting(stepped.values < 0.5).astype(float))
        out["step_missing"] = _of_the_only_layer(recording, missing)
    return {name: series for name, series in out.items() if series.observed.any()}


def _of_the_only_layer(recording: Recording, series: Series) -> Series:
    """Return a series of the run as one of the only layer that is to be trained, if there is one: a new head, say."""
    trained = {p.layer for p in recording.topology.params if p.trainable}
    if len(trained) != 1:
        return series
    return Series(series.steps, series.values[:, None], series.observed[:, None], tuple(trained))


def _lasting(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which backward passes no step follows.

    Several may belong to one step that accumulates, or to the closure of an optimizer that takes over from another.
    """
    out = missing.copy()
    edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop < missing.size and stop - start <= LONGEST_ACCUMULATION:
            out[start:stop] = False
    return out


def _group(recording: Recording, name: str) -> tuple[Array, NDArray[np.bool_]]:
    groups = max((i + 1 for o in recording.optimizers for i in o.groups), default=0)
    found = recording.group.get(name)
    if found is None or groups == 0:
        return np.zeros((0, 0)), np.zeros((0, 0), bool)
    values, observed = found
    return values.astype(np.float64), observed


def _schedule(recording: Recording) -> dict[str, Series]:
    rates, seen = _group(recording, "lr")
    if rates.size == 0:
        return {}
    rate = np.where(seen, rates, 0.0).max(axis=1)
    known = any_row(seen)
    groups = range(rates.shape[1])
    jumps = [_jumps(rates[:, g], seen[:, g]) for g in groups]
    falls = [_falls(rates[:, g], seen[:, g]) for g in groups]
    return {
        "lr_jump": Series(recording.steps, np.max(jumps, axis=0), known),
        "lr_falls": Series(recording.steps, np.max(falls, axis=0), known),
        **_collapse(recording.steps, rate, known),
    }


def _jumps(rates: Array, seen: NDArray[np.bool_]) -> Array:
    """Return how many times a group's rate grew at each step where it passed all that the group had before.

    A restart or a warm-up does not pass the largest rate seen so far; a bug in the schedule does. Another optimizer
    that takes over has a rate of its own.
    """
    jump = np.ones(rates.size)
    rate = rates[seen]
    if rate.size:
        before = np.concatenate([rate[:1], rate[:-1]])
        ratio = np.where(before > 0, rate / np.where(before > 0, before, 1.0), 1.0)
        jump[seen] = np.where(rate > 1.5 * np.maximum.accumulate(before), ratio, 1.0)
    return jump


def _falls(rates: Array, seen: NDArray[np.bool_]) -> Array:
    """Return how often in all a group's rate falls at once after it had risen for a while, where it does; 0 elsewhere.

    A cycle comes down as it went up, and a restart jumps upwards; a warm-up that begins again falls.
    """
    found = np.zeros(rates.size)
    rate = rates[seen]
    if rate.size <= CLIMB:
        return found
    rises = np.concatenate([[0], np.diff(rate) > 0]).cumsum()
    # Step by step upwards for so long, and then down.
    climbed = rises[CLIMB:-1] - rises[: -CLIMB - 1] == CLIMB
    fell = np.zeros(rate.size, bool)
    fell[CLIMB + 1 :] = climbed & (rate[CLIMB + 1 :] < FALL * rate[CLIMB:-1])
    found[seen] = np.where(fell, fell.sum(), 0)
    return found


def _collapse(steps: NDArray[np.int64], rate: Array, known: NDArray[np.bool_]) -> dict[str, Series]:
    """Return how much of the run is left when the rate has become too small to matter, and warm-up."""
    peak = float(rate.max(initial=0.0))
    if peak <= 0:
        return {"lr_zero": scalar_series(int(steps[0]), 1.0)}
    rows = np.arange(rate.size)
    after = known & (rows > int(rate.argmax()))
    spent = max(weight * (after & (rate < least * peak)).mean() for least, weight in SPENT)
    # It begins where half of the peak is lost for good, not where the rate has become too small to matter.
    falling = known & (rows > int(np.flatnonzero(rate >= 0.5 * peak)[-1]))
    share = np.where(falling, spent, 0.0)
    # Where a schedule has not let go of it yet; one that grows without end was never held.
    held = int(np.argmax(rate > HELD * peak)) / rate.size
    change = np.diff(rate)
    # A single step upwards is no warm-up: it rises again and again, to the very end.
    climbs = bool(np.all(change >= 0)) and 2 * np.count_nonzero(change > 0) > change.size
    rising = rate.size >= 32 and climbs and rate[-1] > 2 * rate[0]
    return {
        "lr_zero": scalar_series(int(steps[0]), 0.0),
        "lr_collapsed": Series(steps, share, known),
        "lr_held_back": scalar_series(int(steps[0]), held),
        "lr_still_warming": scalar_series(int(steps[0]), float(rising)),
    }


def _momentum(recording: Recording) -> dict[str, Series]:
    momentum = [
        float(o.defaults.get("momentum") or o.defaults.get("beta1") or 0.0)
        for o in recording.optimizers
        if o.family in {"sgd", "rmsprop", "adam"}
    ]
    if not momentum:
        return {}
    # 1/(1-beta) is the memory in steps, for SGD the factor on the learning rate too.
    out = {"momentum_gain": scalar_series(0, 1.0 / max(1.0 - max(momentum), 1e-6))}
    betas = [
        (float(o.defaults.get("beta1") or 0.0), float(o.defaults.get("beta2") or 0.0))
        for o in recording.optimizers
        if o.family == "adam" and o.defaults.get("beta2")
    ]
    if betas:
        outlives = any(beta1 > math.sqrt(beta2) for beta1, beta2 in betas)
        out["momentum_outlives_scale"] = scalar_series(0, float(outlives))
    return out


def _decay(recording: Recording) -> dict[str, Series]:
    """Return the share of the update that is weight decay, median over the layers that the gradient reaches.

    Layers that are decayed differently are judged apart, and what is decayed most is told.

    Decoupled from the gradient it moves a weight by ``lr * wd * |w|``, and the share is that over ``|dw|``. Of an
    optimizer that adds the decay to the gradient before it divides by its second moment, the step is as long
    whatever it is made of: there the share is ``wd * |w|`` over that and ``|g|`` (Loshchilov & Hutter 2019).
    """
    rates, seen = _group(recording, "lr")
    decays, decays_seen = _group(recording, "weight_decay")
    params = recording.topology.params
    tables = set(table_params(recording.topology))
    chosen = [
        i for i, p in enumerate(params) if (p.kind == "matrix" or i in tables) and p.group >= 0
    ]
    if rates.size == 0 or decays.size == 0 or not chosen or recording.sampled.size == 0:
        return {}
    rows = sampled_rows(recording)
    groups = np.minimum([params[i].group for i in chosen], rates.shape[1] - 1)
    decay = np.where(decays_seen, decays, 0.0)[rows][:, groups]
    pull, whole, judged = _pull(recording, chosen, decay, rates[rows][:, groups])
    into, size, known = _into_gradient(recording, chosen, decay)
    divided = np.isin([params[i].group for i in chosen], list(_dividing(recording)))
    judged = np.where(divided, known, judged) & seen[rows][:, groups] & reached(recording, chosen)
    share = np.where(
        divided, into / np.where(known, size, 1.0), pull / np.where(whole > 0, whole, 1.0)
    )
    masked = np.ma.masked_array(share, ~judged)
    classes = _decayed_alike(decay, [i in tables for i in chosen])
    found = np.max(
        [np.ma.filled(np.ma.median(masked[:, mine], axis=1), 0.0) for mine in classes], axis=0
    )
    told = any_row(judged[:, [i for mine in classes for i in mine]])
    if any(o.type not in OF_TORCH for o in recording.optimizers):
        # What is small by the settings of an optimizer that decays in a way of its own may be large.
        told &= found >= DOMINATES
    return {"decay_share": Series(recording.sampled, found, told)}


def _decayed_alike(decay: Array, is_table: Sequence[bool]) -> list[list[int]]:
    """Return the places of the weights that have one weight decay, each with those of its kind.

    Tables stand for a class that is nothing but tables, as in a factorization: elsewhere few of their rows are used.
    """
    classes: dict[float, list[int]] = {}
    for place, value in enumerate(decay[0].tolist()):
        classes.setdefault(value, []).append(place)
    matrices = {v: [i for i in mine if not is_table[i]] for v, mine in classes.items()}
    return [matrices[v] or mine for v, mine in classes.items()]


def _dividing(recording: Recording) -> set[int]:
    """Return the groups of optimizers that divide the decay, with the gradient, by their second moment."""
    return {g for o in recording.optimizers if o.type in DIVIDE_DECAY for g in o.groups}


def _pull(
    recording: Recording, chosen: list[int], decay: Array, rates: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the part of every update, relative to its weights, that is decay, the whole, and what is known."""
    shape = (recording.sampled.size, len(recording.topology.params))
    ratio, seen = column(recording.param, "update_ratio", shape)
    moved = ratio[:, chosen].astype(np.float64)
    return rates * decay, moved, seen[:, chosen] & (moved > 0)


def _into_gradient(
    recording: Recording, chosen: list[int], decay: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return what decay adds to every gradient, the size of both together, and what is known."""
    count = len(recording.topology.params)
    weights, seen = column(recording.param, "weight_norm", (recording.sampled.size, count))
    slopes, slopes_seen = gradient_norms(recording, sampled_rows(recording))
    # Infinity times zero is NaN here, and NaN is left out below.
    with np.errstate(invalid="ignore"):
        added = decay * weights[:, chosen].astype(np.float64)
    slope = slopes[:, chosen]
    known = seen[:, chosen] & slopes_seen[:, chosen] & np.isfinite(added) & np.isfinite(slope)
    known &= added + slope > 0
    return added, added + slope, known


def _predicted(recording: Recording) -> dict[str, Series]:
    """Return the change of the loss that each step was predicted to make, over the initial loss.

    To first order a step changes the loss by ``g . dw``; a program that learns takes steps that are
    predicted to remove a small share of it. Free of the scale of weights, gradients and loss.
    """
    params = recording.topology.params
    shape = (recording.sampled.size, len(params))
    cosine, seen = column(recording.param, "update_cos_grad", shape)
    ratio, _ = column(recording.param, "update_ratio", shape)
    norm, _ = column(recording.param, "weight_norm", shape)
    grads, grads_seen = gradient_norms(recording, sampled_rows(recording))
    loss = loss_series(recording)
    finite = loss.values[loss.observed]
    nothing = recording.sampled.size == 0 or finite.size == 0 or not seen.any()
    if nothing or not has_level(recording):
        return {}
    start = abs(initial_loss(finite))
    # Infinity times zero is NaN here, and NaN is left out below.
    with np.errstate(invalid="ignore", over="ignore"):
        terms = cosine.astype(np.float64) * ratio * norm * grads
    usable = seen & grads_seen & np.isfinite(terms)
    drop = np.where(usable, terms, 0.0).sum(axis=1) / max(start, 1e-12)
    known = any_row(usable) & np.isfinite(start)
    body = known & (recording.sampled >= 1)
    if not body.any():
        return {}
    sizes = np.abs(drop)
    window = sizes[body][: max(8, body.sum() // 4)]
    return {
        "predicted_change": Series(recording.sampled, sizes, known),
        "predicted_change_early": scalar_series(0, float(np.median(window))),
        "predicted_change_best": scalar_series(0, float(sizes[body].max())),
    }
