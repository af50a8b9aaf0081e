"""Signals of parameters that nobody trains: frozen, forgotten, without a gradient, or rounded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import ParamInfo, Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.cut import cut_off, is_apart, is_detached
from neuraldbg.signals.robust import lasting
from neuraldbg.signals.view import (
    ParamReader,
    gradient_norms,
    is_quasi_newton,
    is_weight,
    layer_max,
    run_series,
    scalar_series,
)

__all__ = ["stillness"]

Array = NDArray[np.float64]
# What is rounded away in fewer steps than these was not for good: first steps of a rate that is warmed up, or at weights
# that are still small, may be rounded away and harm nobody.
WARMED = 32


class _Flags(NamedTuple):
    """What is known of every parameter, shape ``(P,)``; gradients have shape ``(T, P)``."""

    owner: NDArray[np.int64]
    trainable: NDArray[np.bool_]
    half: NDArray[np.bool_]
    matrix: NDArray[np.bool_]
    # Trainable, and no optimizer owns it; where the loop steps by hand there is none to own anything.
    orphan: NDArray[np.bool_]
    gradient: Array
    gradient_seen: NDArray[np.bool_]
    # Whether a gradient was ever seen, and whether one that was not zero; NaN is a gradient too.
    noticed: NDArray[np.bool_]
    used: NDArray[np.bool_]
    # Whether it began as a copy of something that is learned, whether the loop writes it, and whether its layer ran.
    double: NDArray[np.bool_]
    written: NDArray[np.bool_]
    ran: NDArray[np.bool_]


def _flags(recording: Recording) -> _Flags:
    params, layers = recording.topology.params, recording.topology.layers
    owner = np.array([p.layer for p in params])
    gradient, seen = gradient_norms(recording)
    used = (seen & (gradient != 0)).any(axis=0)
    get = ParamReader(recording, list(range(owner.size)))
    (writes, told), (gain, known) = get("written"), get("init_gain")
    stepped = run_series(recording, "stepped")
    by_hand = not recording.optimizers and bool((stepped.observed & (stepped.values > 0)).any())
    scales = {p.name: float(gain[0, i]) for i, p in enumerate(params) if known[:1, i].any()}
    double = _doubles(params, learned=used, scales=scales)
    # A part that never ran is kept from an older version, or for later: it does no harm.
    run = np.array([layer.order >= 0 for layer in layers])[owner]
    apart = np.array([is_apart(layer) for layer in layers])[owner]
    return _Flags(
        owner=owner,
        trainable=np.array([p.trainable for p in params]),
        half=np.array([p.dtype in {"bfloat16", "float16"} for p in params]),
        matrix=np.array([p.kind in {"matrix", "embedding"} for p in params]),
        orphan=np.array([p.trainable and p.group < 0 and not by_hand for p in params]),
        gradient=gradient,
        gradient_seen=seen,
        noticed=np.asarray(seen.any(axis=0), dtype=bool),
        used=used,
        double=double,
        written=np.asarray((told & (writes > 0)).any(axis=0), dtype=bool),
        ran=np.asarray(run | (apart & ~double), dtype=bool),
    )


def stillness(recording: Recording) -> dict[str, Series]:
    """Return which trainable parameters never move, by layer, and how much of a step is rounded away."""
    p = _flags(recording)
    get = ParamReader(recording, list(range(p.owner.size)))
    unchanged, seen = get("unchanged_share")
    start = int(recording.steps[0]) if recording.steps.size else 0
    # What was trained before, and has no part in this loop, may have a gradient left from then.
    renewed = _thawed(p.gradient, p.gradient_seen, p.orphan & ~p.ran) >= 0
    thawed = _thawed(p.gradient, p.gradient_seen, ~p.trainable & p.matrix)
    frozen = ~p.trainable & p.matrix & (thawed < 0) & ~_on_purpose(recording.topology)
    # A quasi-Newton method that has converged takes no step at all.
    stops = np.array(is_quasi_newton(recording))
    owned = p.trainable & p.matrix & ~p.half & ~p.orphan & ~stops
    return {
        "rounded_away": _rounded_away(recording, unchanged, seen & (p.half & p.matrix)),
        "average_rounded_away": _rounded_away(recording, *get("average_kept")),
        "orphan": _unowned(recording, start, p.orphan & p.used & (p.ran | renewed), thawed),
        **_without_gradient(recording, p, start),
        "frozen": _fact(start, frozen, p.matrix, p.owner),
        "nothing_trained": scalar_series(start, float(not p.trainable.any())),
        **_strangers(recording, start),
        "unmoved": layer_max(
            recording.sampled,
            (unchanged >= 1.0).astype(float),
            seen & owned[None, :],
            p.owner,
        ),
    }


def _without_gradient(recording: Recording, p: _Flags, start: int) -> dict[str, Series]:
    """Return which layers never have a gradient, and from which of them something keeps it.

    Where no gradient of anything was seen, the gradients were not watched; they are not missing. Of a gradient of
    zero it is not known whether it came, unless something is seen that keeps it.
    """
    silent = p.trainable & ~p.orphan & ~p.used & ~p.written & (recording.steps.size >= 4)
    cut = cut_off(recording, silent & ~p.double, p.noticed, p.used)
    # A list of parameters never runs; the module that holds it does.
    layers = recording.topology.layers
    detached = np.array([is_detached(layers[p.layer]) for p in recording.topology.params], bool)
    judged = (p.ran | detached) & p.noticed.any()
    known = p.matrix | _by_vectors(recording.topology)
    return {
        "no_gradient": _fact(start, silent, judged & p.matrix, p.owner),
        "cut_off": _fact(start, cut, judged & known & (p.used | ~p.noticed | cut), p.owner),
    }


def _by_vectors(topology: Topology) -> NDArray[np.bool_]:
    """Return which parameters belong to a layer of the user's own that learns nothing but vectors, shape ``(P,)``.

    A bank of filters is known by their frequencies and widths.
    """
    wide = {p.layer for p in topology.params if p.kind in {"matrix", "embedding"}}
    return np.array(
        [topology.layers[p.layer].kind == "other" and p.layer not in wide for p in topology.params],
        bool,
    )


def _fact(
    start: int, holds: NDArray[np.bool_], judged: NDArray[np.bool_], owner: NDArray[np.int64]
) -> Series:
    """Return by layer whether something holds of any of its parameters, as a series of one step."""
    return layer_max(np.array([start]), holds[None, :].astype(float), judged[None, :], owner)


def _rounded_away(recording: Recording, share: Array, seen: NDArray[np.bool_]) -> Series:
    """Return how much of what was to change is rounded away for good, by layer."""
    steps, owner = recording.sampled, np.array([p.layer for p in recording.topology.params])
    return layer_max(steps, lasting(steps, share, seen, least=WARMED), seen, owner)


def _thawed(
    gradient: Array, seen: NDArray[np.bool_], frozen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the row from which parameters get gradients anew, -1 for those that do not and all others, shape ``(P,)``.

    What was left over from before, when a parameter was not frozen yet, never changes.
    """
    found = np.full(gradient.shape[1], -1)
    for i in np.flatnonzero(frozen):
        rows = np.flatnonzero(seen[:, i])
        new = rows[gradient[rows, i] != gradient[rows[0], i]] if rows.size else rows
        if new.size:
            found[i] = rows[0] or new[0]
    return found


def _unowned(
    recording: Recording, start: int, orphan: NDArray[np.bool_], thawed: NDArray[np.int64]
) -> Series:
    """Return which layers no optimizer steps: from the start, and from when a weight was put into them or thawed."""
    params = recording.topology.params
    owner = np.array([p.layer for p in params])
    late = [(o.step, o.layer) for o in recording.occurrences if o.kind == "unheard"]
    late += [
        (int(recording.steps[row]), p.layer)
        for p, row in zip(params, thawed, strict=True)
        if row >= 0 and p.group < 0
    ]
    steps = np.unique([start, *(step for step, _ in late)])
    values = np.tile(orphan, (steps.size, 1))
    for step, layer in late:
        values |= (steps >= step)[:, None] & (owner == layer)[None, :]
    return layer_max(steps, values.astype(float), np.ones(values.shape, bool), owner)


def _on_purpose(topology: Topology) -> NDArray[np.bool_]:
    """Return which parameters, if frozen, are so by design: constants of a container, and all beside adapters.

    A container holds tables (positions, codes) under names of their own. An adapter is two trainable matrices
    beside a frozen weight, by way of a rank below that of the weight (Hu et al. 2022): who trains adapters
    freezes the rest.
    """
    names = {layer.name for layer in topology.layers}
    holders = {name.rpartition(".")[0] for name in names if name}
    constant = [
        path in holders and not is_weight(own)
        for path, _, own in (p.name.rpartition(".") for p in topology.params)
    ]
    trained = [p for p in topology.params if p.trainable and len(p.shape) == 2]
    frozen = [p for p in topology.params if not p.trainable and len(p.shape) == 2]
    adapted = any(_has_adapter(p.shape, _beside(p.name, trained)) for p in frozen)
    return np.array(constant, bool) | adapted | _doubles(topology.params)


def _doubles(
    params: Sequence[ParamInfo],
    learned: NDArray[np.bool_] | None = None,
    scales: Mapping[str, float] = MappingProxyType({}),
) -> NDArray[np.bool_]:
    """Return which parameters belong to a network that is not learned and stands beside its learned double.

    Such are the averages of a trained network that contrast, self-distillation and value learning need. A single
    layer, or one of a numbered list, is none.

    Parameters
    ----------
    params
        Those of the model.
    learned
        Which are learned, shape ``(P,)``; otherwise those that may be.
    scales
        Name of a parameter to its initial scale: a copy begins with that of what it was copied from.
    """
    may = [p.trainable for p in params] if learned is None else learned.tolist()
    learns = {p.name for p, yes in zip(params, may, strict=True) if yes}
    nets: dict[tuple[str, str], dict[str, ParamInfo]] = {}
    for p in params:
        parts = p.name.split(".")
        for depth in range(len(parts) - 1):
            where, name = ".".join(parts[:depth]), parts[depth]
            nets.setdefault((where, name), {})[".".join(parts[depth + 1 :])] = p
    found: set[str] = set()
    for (where, name), net in nets.items():
        matrices = sum(len(p.shape) >= 2 for p in net.values())
        if name.isdigit() or matrices < 2 or any(p.name in learns for p in net.values()):
            continue
        looks = {key: (p.shape, scales.get(p.name)) for key, p in net.items()}
        doubles = (other for (at, own), other in nets.items() if at == where and own != name)
        if any(
            {key: (p.shape, scales.get(p.name)) for key, p in other.items()} == looks
            and any(p.name in learns for p in other.values())
            for other in doubles
        ):
            found |= {p.name for p in net.values()}
    return np.array([p.name in found for p in params], bool)


def _beside(name: str, params: Sequence[ParamInfo]) -> list[tuple[int, ...]]:
    """Return the shapes of those parameters that the module of a parameter, or the one around it, holds."""
    path = name.rpartition(".")[0]
    scopes = tuple(scope + "." for scope in (path, path.rpartition(".")[0]) if scope)
    return [p.shape for p in params if p.name.startswith(scopes)]


def _has_adapter(shape: tuple[int, ...], beside: Sequence[tuple[int, ...]]) -> bool:
    """Return whether two matrices among these lead by way of a lower rank from the inputs of a weight to its outputs."""
    into = {min(s) for s in beside if shape[1] in s and min(s) < min(shape)}
    out_of = {min(s) for s in beside if shape[0] in s and min(s) < min(shape)}
    return len(beside) > 1 and not into.isdisjoint(out_of)


def _strangers(recording: Recording, start: int) -> dict[str, Series]:
    """Return how many parameters the loss depends on that neither model nor optimizer know."""
    number = recording.facts.get("strangers")
    if number is None or not any(p.group >= 0 for p in recording.topology.params):
        return {}
    return {"strangers": scalar_series(start, float(number))}
