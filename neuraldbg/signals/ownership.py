"""Signals of parameters that nobody trains: frozen, forgotten, without a gradient, or rounded away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import ParamInfo, Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.robust import lasting
from neuraldbg.signals.view import (
    ParamReader,
    gradient_norms,
    is_quasi_newton,
    is_weight,
    layer_max,
    scalar_series,
)

__all__ = ["stillness"]

Array = NDArray[np.float64]
# What is rounded away in fewer steps than these was not for good: first steps of a rate that is warmed up, or at weights
# that are still small, may be rounded away and harm nobody.
WARMED = 32


def stillness(recording: Recording) -> dict[str, Series]:
    """Return which trainable parameters never move, by layer, and how much of a step is rounded away."""
    params = recording.topology.params
    everyone = list(range(len(params)))
    get = ParamReader(recording, everyone)
    owner = np.array([p.layer for p in params])
    unchanged, seen = get("unchanged_share")
    trainable = np.array([p.trainable for p in params])
    half = np.array([p.dtype in {"bfloat16", "float16"} for p in params])
    orphan = np.array([p.trainable and p.group < 0 for p in params])
    matrix = np.array([p.kind in {"matrix", "embedding"} for p in params])
    gradient, gradient_seen = gradient_norms(recording)
    # NaN is a gradient too.
    used = (gradient_seen & (gradient != 0)).any(axis=0)
    start = recording.steps[:1] if recording.steps.size else np.array([0])
    silent = (trainable & ~orphan & ~used & (recording.steps.size >= 4))[None, :]
    # A part that never ran is kept from an older version, or for later: it does no harm.
    ran = np.array([layer.order >= 0 for layer in recording.topology.layers])[owner]
    thawed = _thawed(gradient, gradient_seen, ~trainable & matrix)
    frozen = (~trainable & matrix & (thawed < 0) & ~_on_purpose(recording.topology))[None, :]
    always = np.ones((1, len(params)), bool)
    # A quasi-Newton method that has converged takes no step at all.
    stops = np.array(is_quasi_newton(recording))
    return {
        "rounded_away": _rounded_away(recording, unchanged, seen & (half & matrix)),
        "average_rounded_away": _rounded_away(recording, *get("average_kept")),
        "orphan": _unowned(recording, int(start[0]), orphan & used, thawed),
        # Where no gradient of anything was seen, the gradients were not watched; they are not missing.
        "no_gradient": layer_max(
            start, silent.astype(float), always & (matrix & ran) & gradient_seen.any(), owner
        ),
        "frozen": layer_max(start, frozen.astype(float), always & matrix[None, :], owner),
        "nothing_trained": scalar_series(int(start[0]), float(not trainable.any())),
        **_strangers(recording, int(start[0])),
        "unmoved": layer_max(
            recording.sampled,
            (unchanged >= 1.0).astype(float),
            seen & (trainable & matrix & ~half & ~orphan & ~stops)[None, :],
            owner,
        ),
    }


def _rounded_away(recording: Recording, share: Array, seen: NDArray[np.bool_]) -> Series:
    """Return how much of what was to change is rounded away for good, by layer."""
    steps, owner = recording.sampled, np.array([p.layer for p in recording.topology.params])
    return layer_max(steps, lasting(steps, share, seen, least=WARMED), seen, owner)


def _thawed(
    gradient: Array, seen: NDArray[np.bool_], frozen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the row from which frozen parameters get gradients anew, -1 for all others, shape ``(P,)``.

    What was left over from before a parameter was frozen never changes.
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
    return np.array(constant, bool) | adapted | _averages(topology.params)


def _averages(params: Sequence[ParamInfo]) -> NDArray[np.bool_]:
    """Return which parameters belong to a frozen network that stands, under another name, beside its trained double.

    Such are the averages of a trained network that contrast, self-distillation and value learning need. A single
    frozen layer, or one of a numbered list, is none.
    """
    nets: dict[tuple[str, str], dict[str, ParamInfo]] = {}
    for p in params:
        parts = p.name.split(".")
        for depth in range(len(parts) - 1):
            where, name = ".".join(parts[:depth]), parts[depth]
            nets.setdefault((where, name), {})[".".join(parts[depth + 1 :])] = p
    found: set[str] = set()
    for (where, name), net in nets.items():
        matrices = sum(len(p.shape) >= 2 for p in net.values())
        if name.isdigit() or matrices < 2 or any(p.trainable for p in net.values()):
            continue
        shapes = {key: p.shape for key, p in net.items()}
        doubles = (other for (at, own), other in nets.items() if at == where and own != name)
        if any(
            {key: p.shape for key, p in other.items()} == shapes
            and any(p.trainable for p in other.values())
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
