"""Signals of the parameters and their updates: update ratios, initial scales, symmetry, what never moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.initial import initial_signals
from neuraldbg.signals.loss import gradual_fall
from neuraldbg.signals.ownership import stillness
from neuraldbg.signals.robust import any_row
from neuraldbg.signals.structure import sources
from neuraldbg.signals.view import (
    ParamReader,
    gradient_norms,
    is_quasi_newton,
    is_weight,
    layer_max,
    matrix_params,
    reached,
    scalar_series,
    table_params,
)

__all__ = ["parameter_signals"]

Array = NDArray[np.float64]

# Bias correction leaves Adam's second moment made of few gradients before (mechanisms.md A7).
SETTLED = 10
# Steps whose gradients say whether two weights are copies of one another.
ALIKE = 8


def parameter_signals(recording: Recording) -> dict[str, Series]:
    """Return update ratios, weight growth, initial gains, symmetry and stillness by layer."""
    topology = recording.topology
    if not topology.params or recording.sampled.size == 0:
        return {}
    matrices = matrix_params(topology)
    out = {
        **(_of_matrices(recording, matrices) if matrices else _fading(recording)),
        **initial_signals(recording),
        **_similarity(recording),
        **stillness(recording),
    }
    return {name: series for name, series in out.items() if series.observed.any()}


def _of_matrices(recording: Recording, matrices: list[int]) -> dict[str, Series]:
    """Return how far weights move in a step, how they grow, and what an adaptive optimizer makes of their gradients."""
    get = ParamReader(recording, matrices)
    owner = np.array([recording.topology.params[i].layer for i in matrices])
    moved = reached(recording, matrices)
    ratio, seen = _established_ratio(get)
    if is_quasi_newton(recording):
        # A quasi-Newton step is as long as its line search allows; the ratio has no healthy range.
        seen = np.zeros_like(seen)
    return {
        "update_ratio": layer_max(recording.sampled, ratio, seen, owner),
        "update_ratio_median": _median(recording.sampled, ratio, seen),
        **_movement(recording, ratio, seen),
        **_norms(recording, get, moved),
        **_adaptive(recording, get, owner, moved),
    }


def _established_ratio(get: ParamReader) -> tuple[Array, NDArray[np.bool_]]:
    """Return update ratios where the weights have a size of their own.

    A matrix that starts at zero (residual gates, low-rank adapters) has an unbounded ratio by design
    until its norm is established (mechanisms.md section 6).
    """
    ratio, seen = get("update_ratio")
    norm, norm_seen = get("weight_norm")
    typical = np.where(norm_seen & np.isfinite(norm), norm, 0.0)
    born_small = typical[0] < 0.1 * typical.max(axis=0, initial=0.0)
    young = norm < 0.5 * typical.max(axis=0, initial=0.0)
    return ratio, seen & norm_seen & ~(born_small & young)


def _median(steps: NDArray[np.int64], values: Array, seen: NDArray[np.bool_]) -> Series:
    masked = np.ma.masked_array(values, ~(seen & np.isfinite(values)))
    median = np.ma.median(masked, axis=1) if values.size else masked
    return Series(steps, np.ma.filled(median, 0.0), any_row(seen))


def _movement(recording: Recording, ratio: Array, seen: NDArray[np.bool_]) -> dict[str, Series]:
    """Return the early level and the best-ever level of the median update ratio."""
    median = _median(recording.sampled, ratio, seen)
    values = median.values[median.observed & (median.values > 0)]
    steps = recording.sampled[median.observed & (median.values > 0)]
    if values.size == 0:
        return {}
    early = values[steps < 20]
    window = np.convolve(values, np.ones(min(4, values.size)) / min(4, values.size), "valid")
    out = {"update_ratio_best": scalar_series(int(steps[0]), float(window.max()))}
    if early.size:
        # The very first adaptive step is +-lr in every coordinate whatever the gradient: leave it out.
        body = early[1:] if early.size > 4 else early
        out["update_ratio_early"] = scalar_series(int(steps[0]), float(body.mean()))
    return out


def _norms(recording: Recording, get: ParamReader, moved: NDArray[np.bool_]) -> dict[str, Series]:
    norm, seen = get("weight_norm")
    finite = seen & np.isfinite(norm) & (norm > 0)
    started = finite[0]
    if not started.any():
        return {}
    change = np.where(finite, norm, 1.0)[:, started] / norm[0][started]
    observed = finite[:, started] & moved[:, started]
    masked = np.ma.masked_array(change, ~observed)
    growth = np.ma.filled(np.ma.median(masked, axis=1), 1.0)
    any_seen = any_row(observed)
    cosine, cosine_seen = get("update_cos_weight")
    return {
        "weight_growth": Series(recording.sampled, growth, any_seen),
        "weight_shrink": Series(recording.sampled, 1.0 / np.maximum(growth, 1e-12), any_seen),
        "update_toward_zero": _median(recording.sampled, cosine, cosine_seen & moved),
    }


def _fading(recording: Recording) -> dict[str, Series]:
    """Return how far embeddings shrink, of a model that has no other weights: a factorization.

    That they grow is how they learn, and a batch that touches few of their rows makes a small update.
    """
    tables = table_params(recording.topology)
    if not tables:
        return {}
    found = _norms(recording, ParamReader(recording, tables), reached(recording, tables))
    return {name: s for name, s in found.items() if name != "weight_growth"}


def _similarity(recording: Recording) -> dict[str, Series]:
    """Return how alike the units of a weight are; the units of a table are its columns."""
    topology = recording.topology
    params = matrix_params(topology) + table_params(topology)
    get, owner = (
        ParamReader(recording, params),
        np.array([topology.params[i].layer for i in params]),
    )
    if not params:
        return {}
    weights, seen = get("unit_weight_similarity")
    gradients, gradients_seen = get("unit_grad_similarity")
    norm, norm_seen = get("weight_norm")
    double = _doubles(recording, params) & norm_seen
    seen &= ~_born_zero(topology, owner, get.born_zero())
    # What is no weight may be laid out alike on purpose, as the decays of a state space: gradients tell whether it stays so.
    seen &= gradients_seen | [is_weight(topology.params[i].name.rpartition(".")[2]) for i in params]
    # Rows that get different gradients are about to part: only both together stay alike.
    alike = np.where(gradients_seen & (gradients < 0.9), 0.0, weights)
    late = recording.sampled >= 4
    copied, measured = _copied(get, late)
    alike = np.maximum(np.where(seen, alike, 0.0), copied)
    alike, seen = np.where(double, 1.0, alike), seen | measured | double
    steps = recording.sampled[late]
    zero = norm_seen & np.isin(params, matrix_params(topology))
    return {
        "unit_similarity": layer_max(recording.sampled, alike, seen, owner),
        "unit_similarity_late": layer_max(steps, alike[late], seen[late], owner),
        "weights_zero": layer_max(recording.sampled, (norm == 0.0).astype(float), zero, owner),
    }


def _copied(get: ParamReader, late: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Return the share of units that have an exact copy, if that is so after several steps as well, and what is known.

    Units that were copied in groups, as of a network that was made wider, point in as many directions as there are
    groups: on average they are not alike.
    """
    share, seen = get("unit_twins")
    known: Array = np.where(seen, share, 0.0)
    measured = seen.copy()
    # Of zeros it is not known yet whether they will part.
    measured[:1] &= ~get.born_zero()
    return np.minimum(known, known[late].max(axis=0, initial=0.0)), measured


def _born_zero(
    topology: Topology, owner: NDArray[np.int64], zero: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which weights are zero at first and fed by others that are not, shape ``(P,)``: gates, heads, adapters.

    Their units differ by nothing but what they learn, which in the first steps is one direction for all.
    """
    if not zero.any():
        return zero
    empty = set(owner[zero]) - set(owner[~zero])
    fed = sources(topology)
    gates = [layer in empty and bool(fed.get(layer, set()) - empty) for layer in owner]
    return np.logical_and(zero, gates)


def _doubles(recording: Recording, params: Sequence[int]) -> NDArray[np.bool_]:
    """Return which weights are copies of another one, shape ``(P,)``: their gradients were the same from the start.

    Layers that were copied into one another part at once where they are fed differently; experts or members that
    are fed alike never do, but for rounding.
    """
    early, seen = gradient_norms(recording, slice(ALIKE))
    # Norms that are always the same were made so, by clipping every parameter on its own.
    varied = np.ptp(early, axis=0) > 0
    known = varied & ((seen & (early > 0)).sum(axis=0) >= ALIKE // 2)
    places: dict[tuple[int, ...], list[int]] = {}
    for place, index in enumerate(params):
        if known[index]:
            places.setdefault(recording.topology.params[index].shape, []).append(place)
    found = np.zeros(len(params), bool)
    for group in places.values():
        # What is the same stands side by side.
        ordered = sorted(group, key=lambda place: float(early[:, params[place]].sum()))
        norms = early[:, [params[place] for place in ordered]]
        same = (np.abs(np.diff(norms, axis=1)) <= 1e-4 * norms[:, 1:]).all(axis=0)
        beside = np.append(same, False) | np.insert(same, 0, False)
        found[np.array(ordered)[beside]] = True
    return found


def _adaptive(
    recording: Recording, get: ParamReader, owner: NDArray[np.int64], moved: NDArray[np.bool_]
) -> dict[str, Series]:
    surprise, seen = get("grad_rms_over_v")
    learned = gradual_fall(recording, recording.sampled)[:, None]
    settled = seen & (recording.sampled >= 10)[:, None]
    tiny, tiny_seen = get("eps_share")
    late = tiny_seen & _settled(recording.sampled, tiny, tiny_seen)[:, None]
    against, against_seen = get("update_cos_grad")
    coherent, coherent_seen = get("grad_cos_prev")
    return {
        "second_moment_surprise": layer_max(recording.sampled, surprise, settled, owner),
        "second_moment_excess": _median(
            recording.sampled,
            1.0 / np.maximum(surprise, 1e-9) / learned,
            settled & (surprise > 0) & moved,
        ),
        # Before its first step an optimizer has a second moment only if it brought one along.
        "second_moment_inherited": _median(
            recording.sampled[:1],
            1.0 / np.maximum(surprise[:1], 1e-9),
            (seen & (surprise > 0))[:1] & (recording.sampled[0] == 0),
        ),
        "eps_dominance": _median(recording.sampled, tiny, late),
        "update_against_gradient": _median(
            recording.sampled, (against < 0).astype(float), against_seen
        ),
        "grad_coherence": _median(recording.sampled, coherent, coherent_seen),
    }


def _settled(steps: NDArray[np.int64], share: Array, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which steps count: from the tenth on, and those just before it if they look the same.

    Early second moments are made of few gradients; where they are no smaller than later, the state is as old as they.
    """
    late = steps >= SETTLED
    if not late.any():
        return late
    median = np.ma.filled(np.ma.median(np.ma.masked_array(share, ~seen), axis=1), -1.0)
    row = int(np.argmax(late))
    first = row
    while first > 0 and median[row] >= 0.5 and median[first - 1] >= 0.8 * median[row]:
        first -= 1
    late[first:row] = True
    return late
