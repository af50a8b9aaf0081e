"""Signals of activations: dead and saturated units, growth with depth, constants, attention, normalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.robust import any_row, trailing_median
from neuraldbg.signals.structure import beyond
from neuraldbg.signals.view import (
    ParamReader,
    chain_layers,
    feeders_of,
    layer_max,
    layer_series,
    matrix_params,
    owners,
    readers_of,
    run_series,
    scalar_series,
)

__all__ = ["activation_signals"]

Array = NDArray[np.float64]
GATES = frozenset({"recurrent"})
# Below this largest logit a softmax is nearly even: a row that is one-hot all the same was masked.
OWN_LOGIT = 2.0
# A spread over the batch up to this share of an output is rounding; one from that share on, of another, is there.
ROUNDING, DIFFERS = 1e-6, 1e-3


def activation_signals(recording: Recording) -> dict[str, Series]:
    """Return activation signals by the parametrised layer that they are told under."""
    owner = owners(recording.topology)
    out = {
        "dead_share": _owned(recording, "dead_share", owner),
        "saturated_share": _hidden_only(recording, _owned(recording, "saturated_share", owner)),
        "activation_nonfinite": _owned(recording, "nonfinite_share", owner),
        "sine_wrapped": _wrapped(recording, owner),
        **_depth(recording),
        **_constant(recording, owner),
        **_attention(recording),
        **_normalization(recording),
        **_dropout(recording),
        **_growth(recording),
    }
    return {name: series for name, series in out.items() if series.observed.any()}


def _owned(recording: Recording, name: str, owner: NDArray[np.int64]) -> Series:
    series = layer_series(recording, name)
    return layer_max(series.steps, series.values, series.observed, owner)


def _hidden_only(recording: Recording, series: Series) -> Series:
    """Leave out gates and the output layer: they may saturate in a healthy program (section 6)."""
    layers = recording.topology.layers
    outputs = set(recording.topology.outputs)
    last = max((i for i in series.layers or ()), key=lambda i: layers[i].order, default=-1)
    allowed = [
        i not in outputs and i != last and layers[i].kind not in GATES for i in series.layers or ()
    ]
    return _only(series, allowed)


def _wrapped(recording: Recording, owner: NDArray[np.int64]) -> Series:
    """Return the share of the arguments of sines beyond half a period, where other sines come before.

    The first sine may turn as often as it likes: its frequencies are those that the network can make (Sitzmann et al. 2020,
    section 3.2). After that the arguments are to have a spread of one.
    """
    found = _owned(recording, "wrapped_share", owner)
    layers = found.layers or ()
    sines = [i for column, i in enumerate(layers) if found.observed[:, column].any()]
    after = beyond(readers_of(recording.topology), sines)
    return _only(found, [i in after for i in layers])


def _only(series: Series, allowed: Sequence[bool]) -> Series:
    """Return a series that is observed in some of its layers at most."""
    return series._replace(observed=series.observed & np.array(allowed, bool)[None, :])


def _depth(recording: Recording) -> dict[str, Series]:
    """Return depth slope (nats a layer) and total rise of the activation spread over the chain."""
    spread = layer_series(recording, "act_std")
    chain = [i for i in chain_layers(recording.topology) if spread.observed[:, i].any()]
    if len(chain) < 3:
        return {}
    values = spread.values[:, chain]
    seen = spread.observed[:, chain] & np.isfinite(values) & (values > 0)
    logs = np.log(np.where(seen, values, 1.0))
    depth = np.arange(len(chain), dtype=np.float64)
    n = np.maximum(seen.sum(axis=1), 1)
    dx = np.where(seen, depth - ((seen * depth).sum(axis=1) / n)[:, None], 0.0)
    slope = (dx * logs).sum(axis=1) / np.maximum((dx**2).sum(axis=1), 1e-12)
    judged = seen.sum(axis=1) >= 3
    start = spread.steps == (spread.steps[0] if spread.steps.size else 0)
    total = slope * (len(chain) - 1)
    return {
        "activation_growth_depth": Series(spread.steps, total, judged & start),
        "activation_decay_depth": Series(spread.steps, -total, judged & start),
    }


def _constant(recording: Recording, owner: NDArray[np.int64]) -> dict[str, Series]:
    """Return decades by which the spread over the batch is below the size of the activation."""
    spread, size = (
        layer_series(recording, "act_std"),
        layer_series(recording, "act_rms"),
    )
    seen = spread.observed & size.observed & (size.values > 0) & np.isfinite(spread.values)
    ratio = np.where(seen, spread.values, 1.0) / np.where(seen, size.values, 1.0)
    lost = -np.log10(np.maximum(ratio, 1e-9))
    weighted = np.array([bool(layer.params) for layer in recording.topology.layers], bool)
    layers = layer_max(spread.steps, lost, seen & weighted[None, :], owner)
    outputs = [i for i in recording.topology.outputs if i < seen.shape[1]]
    if not outputs or _is_fed_nothing(recording):
        return {"sample_collapse": layers}
    head = layer_max(spread.steps, lost[:, outputs], seen[:, outputs], np.zeros(len(outputs), int))
    return {
        "sample_collapse": layers,
        "output_constant": Series(spread.steps, head.values[:, 0], head.observed[:, 0]),
        "output_spread_initial": _initial_output(recording, outputs),
    }


def _is_fed_nothing(recording: Recording) -> bool:
    """Return whether a model is its own only input, as a picture that is optimized: its output has no examples."""
    alone = len(recording.topology.layers) == 1
    fed = any(n.startswith("input") for n in recording.step) or any(
        n.startswith("fed") for n in recording.layer
    )
    return alone and not fed


def _initial_output(recording: Recording, outputs: list[int]) -> Series:
    spread = layer_series(recording, "act_std")
    seen = spread.observed[:1, outputs]
    value = np.where(seen, spread.values[:1, outputs], 0.0).max(axis=1)
    return Series(spread.steps[:1], 1.0 / np.maximum(value, 1e-9), any_row(seen))


def _attention(recording: Recording) -> dict[str, Series]:
    entropy = layer_series(recording, "attn_entropy_min")
    median = layer_series(recording, "attn_entropy_median")
    logits = layer_series(recording, "attn_logit_max")
    remaining = _loss_remaining(recording, entropy.steps)
    unlearnt = remaining > 0.85
    typical = np.where(unlearnt[:, None], 1.0 - median.values, 0.0)
    sharp = np.where(unlearnt[:, None], 1.0 - entropy.values, 0.0)
    # The typical row at 0.8 is the stronger finding than the sharpest at 0.9 (mechanisms.md A11), and implies it.
    implied = np.where(unlearnt[:, None] & median.observed, (1.0 + typical) / 2, 0.0)
    sharp = np.maximum(sharp, implied)
    return {
        "attention_collapsed": entropy._replace(values=sharp),
        "attention_uniformly_sharp": median._replace(values=typical),
        "attention_sharp_initial": _initially_sharp(median, logits),
        "attention_logit": logits,
    }


def _initially_sharp(median: Series, logits: Series) -> Series:
    """Return how far from even the typical row of attention was before the first step; 0 where a mask made it so."""
    own = logits.observed[:1] & (logits.values[:1] > OWN_LOGIT)
    sharp = np.where(own, 1.0 - median.values[:1], 0.0)
    return Series(median.steps[:1], sharp, median.observed[:1], median.layers)


def _loss_remaining(recording: Recording, steps: NDArray[np.int64]) -> Array:
    """Return the share of the initial loss that is left at each sampled step; 1 if unknown."""
    loss = run_series(recording, "loss")
    values = loss.values[loss.observed]
    if values.size == 0 or not np.isfinite(values[0]) or values[0] <= 0:
        return np.ones(steps.size)
    level = np.nan_to_num(trailing_median(values, 8) / values[0], nan=1.0)
    place = np.searchsorted(loss.steps[loss.observed], steps, side="right") - 1
    return np.asarray(level[np.clip(place, 0, level.size - 1)], dtype=np.float64)


def _normalization(recording: Recording) -> dict[str, Series]:
    count = layer_series(recording, "norm_count")
    gap = layer_series(recording, "norm_stat_gap")
    # Running statistics need about five time constants of 1/momentum = 10 steps to settle.
    settled = (gap.steps >= 50)[:, None]
    return {
        "norm_few": count._replace(values=1.0 / np.maximum(count.values, 1e-9)),
        "norm_flat": _flat(recording),
        "norm_gap": gap._replace(observed=gap.observed & settled),
        **_norm_memory(recording, count.observed | gap.observed),
        "norm_forgets": _forgets(recording, count),
        **_norm_output(recording),
    }


def _flat(recording: Recording) -> Series:
    """Return the share of the statistics of a normalization that are nothing but its epsilon.

    Of one that the user wrote the statistics are not seen: it takes everything off where it gives the same for all
    examples and what feeds it does not.
    """
    found = layer_series(recording, "norm_var_min")
    spread, size = layer_series(recording, "act_std"), layer_series(recording, "act_rms")
    topology, feeders = recording.topology, feeders_of(recording.topology)
    values, observed = found.values.copy(), found.observed.copy()
    for i, layer in enumerate(topology.layers):
        fed = [*feeders.get(i, ())]
        if layer.kind != "norm" or not fed or found.observed[:, i].any():
            continue
        known = (spread.observed & size.observed)[:, [i, *fed]].all(axis=1)
        same = spread.values[:, i] <= ROUNDING * np.maximum(size.values[:, i], 1.0)
        differ = (spread.values[:, fed] > DIFFERS * size.values[:, fed]).all(axis=1)
        values[:, i], observed[:, i] = same & differ, known
    return found._replace(values=values, observed=observed)


def _momenta(recording: Recording) -> dict[int, float]:
    """Return the momentum of every normalization with running statistics: the share of the new batch in these."""
    return {
        i: float(momentum)
        for i, layer in enumerate(recording.topology.layers)
        if layer.kind == "norm"
        and isinstance(momentum := layer.config.get("momentum"), (int, float))
    }


def _forgets(recording: Recording, count: Series) -> Series:
    """Return one over the number of values that running statistics rest on, 0 where they hold more than two batches.

    An exponential average of momentum ``m`` has the variance ``m / (2 - m)`` of one batch (Roberts 1959).
    """
    momentum = np.zeros(len(recording.topology.layers))
    for layer, share in _momenta(recording).items():
        momentum[layer] = share
    short = np.where(momentum > 0.5, momentum / (2.0 - np.minimum(momentum, 1.0)), 0.0)
    return count._replace(values=short / np.maximum(count.values, 1e-9))


def _norm_output(recording: Recording) -> dict[str, Series]:
    """Return how large each normalization leaves its output in the first step: about 1 if it knows its input."""
    size = layer_series(recording, "act_rms")
    chosen = [i for i, layer in enumerate(recording.topology.layers) if layer.kind == "norm"]
    if not chosen or size.steps.size == 0:
        return {}
    values, seen = size.values[:1, chosen], size.observed[:1, chosen]
    return {"norm_output": Series(size.steps[:1], values, seen, tuple(chosen))}


def _norm_memory(recording: Recording, working: NDArray[np.bool_]) -> dict[str, Series]:
    """Return over how many steps each normalization averages its running statistics: ``1/momentum``."""
    memory = {
        i: 1.0 / max(momentum, 1e-9)
        for i, momentum in _momenta(recording).items()
        if working[:, i].any()
    }
    if not memory:
        return {}
    values, known = np.array([list(memory.values())]), np.ones((1, len(memory)), bool)
    return {"norm_memory": Series(recording.sampled[:1], values, known, tuple(memory))}


def _dropout(recording: Recording) -> dict[str, Series]:
    topology = recording.topology
    kept = layer_series(recording, "drop_keep")
    rates = {
        i: float(layer.config.get("p") or 0.0)
        if layer.kind == "dropout"
        else 1.0 - float(kept.values[kept.observed[:, i], i].mean())
        for i, layer in enumerate(topology.layers)
        if layer.kind == "dropout" or kept.observed[:, i].any()
    }
    if not rates:
        return {}
    steps = recording.sampled[:1] if recording.sampled.size else np.array([0])
    values = np.array([list(rates.values())])
    active = np.array([[bool((kept.observed[:, i]).any()) for i in rates]])
    return {"dropped": Series(steps, values, active, tuple(rates))}


def _understated(recording: Recording) -> Array:
    """Return decades by which the largest weight of a layer was drawn below the usual gain, 0 where by less than one."""
    params = matrix_params(recording.topology)
    gain, seen = ParamReader(recording, params)("init_gain")
    largest = np.zeros(len(recording.topology.layers))
    for column, index in enumerate(params):
        if seen[:1, column].any() and gain[0, column] > 0:
            layer = recording.topology.params[index].layer
            largest[layer] = max(largest[layer], gain[0, column])
    below = -np.log10(np.where(largest > 0, largest, 1.0))
    return np.where(below > 1.0, below, 0.0)


def _growth(recording: Recording) -> dict[str, Series]:
    """Return decades by which the largest activation grew since the start, over all layers.

    What a layer gives whose weights were drawn near zero is compared with what it would have given at the usual gain.
    """
    peak = layer_series(recording, "act_absmax")
    if peak.steps.size == 0:
        return {}
    seen = peak.observed & np.isfinite(peak.values) & (peak.values > 0)
    started = seen[0]
    if not started.any():
        return {}
    logs = np.where(seen, np.log10(np.where(seen, peak.values, 1.0)), 0.0)
    first = (logs[0] + _understated(recording))[started]
    rise = np.where(seen[:, started], logs[:, started] - first, -np.inf)
    return {
        "activation_growth_time": Series(
            peak.steps, np.maximum(rise.max(axis=1), 0.0), any_row(seen[:, started])
        ),
        "activation_peak": scalar_series(
            int(peak.steps[0]), float(np.max(np.where(seen, peak.values, 0.0)))
        ),
    }
