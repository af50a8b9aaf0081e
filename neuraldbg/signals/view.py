"""Reading a recording: columns as float64, owners of layers, matrices of a layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Column, Recording, Topology
from neuraldbg.records.signals import Series

__all__ = [
    "Links",
    "ParamReader",
    "chain_layers",
    "column",
    "feeders_of",
    "gradient_norms",
    "is_quasi_newton",
    "is_weight",
    "layer_max",
    "layer_series",
    "links",
    "matrix_params",
    "owners",
    "reached",
    "readers_of",
    "run_series",
    "sampled_rows",
    "scalar_series",
    "table_params",
]

Array = NDArray[np.float64]
# Layer to other layers.
Links = dict[int, set[int]]
EVERY = slice(None)
# Own names of weights: weight, kernel, w, and w with a number, the letter of a gate or role, or a word behind it.
WEIGHT = re.compile(r"weight|^kernel$|^w(\d+|[fghikoqruvxz]|_\w+)?$")
# A gradient this much smaller than elsewhere, both relative to the weights, has faded (mechanisms.md G2: two decades).
FADED = 0.01


def column(columns: Mapping[str, Column], name: str, shape: tuple[int, ...]) -> Column:
    """Return a column, or one in which nothing was observed."""
    found = columns.get(name)
    if found is None or found.values.shape != shape:
        return Column(np.zeros(shape, np.float32), np.zeros(shape, bool))
    return found


def run_series(recording: Recording, name: str) -> Series:
    """Return a per-step column as a run-wide series."""
    values, observed = column(recording.step, name, recording.steps.shape)
    return Series(recording.steps, values.astype(np.float64), observed)


def layer_series(recording: Recording, name: str) -> Series:
    """Return a sampled per-layer column as a series over all layers."""
    shape = (recording.sampled.size, len(recording.topology.layers))
    values, observed = column(recording.layer, name, shape)
    layers = tuple(range(shape[1]))
    return Series(recording.sampled, values.astype(np.float64), observed, layers)


def scalar_series(step: int, value: float) -> Series:
    """Return a run-wide fact that holds from one step on."""
    return Series(np.array([step]), np.array([float(value)]), np.array([True]))


def links(pairs: Iterable[tuple[int, int]]) -> Links:
    """Return, by the first of every pair, the seconds."""
    found: Links = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
    return found


def feeders_of(topology: Topology) -> Links:
    """Return, by layer, the layers that feed it."""
    return links((target, source) for source, target in topology.edges)


def readers_of(topology: Topology) -> Links:
    """Return, by layer, the layers that it feeds."""
    return links(topology.edges)


def owners(topology: Topology) -> NDArray[np.int64]:
    """Return, for every layer, the parametrised layer that it is told under, shape ``(L,)``.

    An activation, dropout or other layer without parameters belongs to the layer that feeds it, if
    there is exactly one; a reader looks for a fault where the weights are.
    """
    feeders = feeders_of(topology)
    owner = np.arange(len(topology.layers))
    for index in range(len(topology.layers)):
        place, hops = index, 0
        while not topology.layers[place].params and len(feeders.get(place, ())) == 1 and hops < 8:
            place, hops = next(iter(feeders[place])), hops + 1
        if topology.layers[place].params:
            owner[index] = place
    return owner


def matrix_params(topology: Topology) -> list[int]:
    """Return the indices of trainable weight matrices (two or more axes, not embeddings)."""
    return [i for i, p in enumerate(topology.params) if p.kind == "matrix" and p.trainable]


def table_params(topology: Topology) -> list[int]:
    """Return the indices of trainable embeddings of more than one column; those of one column are biases."""
    return [
        i
        for i, p in enumerate(topology.params)
        if p.kind == "embedding" and p.trainable and p.shape[-1] > 1
    ]


def layer_max(
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    observed: NDArray[np.bool_],
    owner: NDArray[np.int64],
) -> Series:
    """Fold columns that share an owner into one by their largest observed value.

    Parameters
    ----------
    steps
        Shape ``(n,)``.
    values, observed
        Shape ``(n, K)``.
    owner
        Shape ``(K,)``; layer index of every column.
    """
    layers = np.unique(owner)
    folded = np.full((values.shape[0], layers.size), -np.inf)
    seen = np.zeros(folded.shape, bool)
    place = np.searchsorted(layers, owner)
    masked = np.where(observed, values, -np.inf)
    for source, target in enumerate(place):
        folded[:, target] = np.maximum(folded[:, target], masked[:, source])
        seen[:, target] |= observed[:, source]
    return Series(steps, np.where(seen, folded, 0.0), seen, tuple(int(i) for i in layers))


def chain_layers(topology: Topology) -> list[int]:
    """Return hidden weight layers in execution order: the chain on which depth slopes are fitted.

    Embeddings and the layer that feeds the loss are left out: they differ in size from the rest and
    would bend the slope.
    """
    hidden = [
        (layer.order, index)
        for index, layer in enumerate(topology.layers)
        if layer.order >= 0 and layer.kind in {"linear", "conv", "recurrent"}
    ]
    ordered = [index for _, index in sorted(hidden)]
    return ordered[:-1] if len(ordered) > 2 else ordered


class ParamReader:
    """Sampled parameter columns of a choice of parameters, as float64."""

    def __init__(self, recording: Recording, params: list[int]) -> None:
        self._recording = recording
        self._params = params
        self._shape = (recording.sampled.size, len(recording.topology.params))

    def __call__(self, name: str) -> tuple[Array, NDArray[np.bool_]]:
        """Return values and where they were observed, shape ``(sampled, P)``."""
        values, observed = column(self._recording.param, name, self._shape)
        chosen = values[:, self._params].astype(np.float64)
        return chosen, observed[:, self._params] & ~np.isnan(chosen)

    def born_zero(self) -> NDArray[np.bool_]:
        """Return which parameters were zero before the first step, shape ``(P,)``."""
        gain, seen = self("init_gain")
        return np.asarray(seen[0] & (gain[0] == 0.0), dtype=np.bool_)


def sampled_rows(recording: Recording) -> NDArray[np.intp]:
    """Return the row of every sampled step among all steps, shape ``(sampled,)``."""
    rows = np.searchsorted(recording.steps, recording.sampled)
    return np.clip(rows, 0, recording.steps.size - 1)


def gradient_norms(
    recording: Recording, rows: slice | NDArray[np.intp] = EVERY
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the norm of the gradient of every parameter in every step, or in those rows, and where it was seen."""
    shape = (recording.steps.size, len(recording.topology.params))
    values, observed = column(recording.grad, "grad_norm", shape)
    return values[rows].astype(np.float64), observed[rows]


def reached(recording: Recording, params: list[int]) -> NDArray[np.bool_]:
    """Return whether the gradient comes to parameters as it does to others, shape ``(sampled, P)``.

    Where it has faded on its way, weight decay is all that moves a weight, however little of it there is.
    """
    norm, seen = ParamReader(recording, params)("weight_norm")
    norms, measured = gradient_norms(recording, sampled_rows(recording))
    slopes = norms[:, params]
    known = measured[:, params] & seen & (norm > 0) & np.isfinite(slopes) & np.isfinite(norm)
    slope = np.where(known, slopes, 0.0) / np.where(known, norm, 1.0)
    enough = FADED * slope.max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(~known | (slope >= enough), dtype=bool)


def is_weight(name: str) -> bool:
    """Return whether the own name of a parameter is that of a weight."""
    return WEIGHT.search(name.lower()) is not None


def is_quasi_newton(recording: Recording) -> bool:
    """Return whether an optimizer of a run chooses the lengths of its steps itself, zero where it has converged."""
    return any(optimizer.family == "lbfgs" for optimizer in recording.optimizers)
