"""Where along a sequence the gradient is lost: told at the layer that carries it from position to position."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from neuraldbg.records.recording import LayerInfo, Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.robust import lasting
from neuraldbg.signals.view import Links, layer_max, layer_series, readers_of

__all__ = ["along_sequences"]

# Layers that treat every position by itself, whatever else they own: they cannot carry anything along a sequence.
POSITIONWISE = frozenset(
    {"Linear", "LazyLinear", "Bilinear", "Embedding", "EmbeddingBag", "LayerNorm", "RMSNorm", "PReLU"}
)  # fmt: skip
SAME_PLACE = frozenset({"activation", "dropout", "norm", "loss", "embedding"})
# Further on than so many layers, something else has happened to what the layer gave.
HOPS = 16


def along_sequences(recording: Recording) -> dict[str, Series]:
    """Return by how many decades gradients fade, or grow, on their way back along a sequence.

    What is measured is the gradient of a layer's output. The fall was made by what reads that output and mixes
    positions: the next such layer, or the module around it; where neither is known, it is told where it was seen.
    Of a recurrence that is fed data it is the gradient of its input, and of a cell that the loop calls that of each call.
    """
    fall, inside = (layer_series(recording, n) for n in ("time_grad_fall", "time_grad_fall_in"))
    slope, over = (layer_series(recording, n) for n in ("time_grad_slope", "time_grad_over"))
    # Of what is called once for every step of time the slope is known.
    called = slope.values * over.values / math.log(10.0)
    inside = inside._replace(
        values=np.where(over.observed, called, inside.values),
        observed=inside.observed | (slope.observed & over.observed),
    )
    if not (fall.observed.any() or inside.observed.any()):
        return {}
    topology = recording.topology
    names = {layer.name: i for i, layer in enumerate(topology.layers) if layer.name}
    after = readers_of(topology)
    seen = np.flatnonzero(fall.observed.any(axis=0))
    carriers = [_carriers(int(i), topology, names, after) for i in seen]
    columns = [int(i) for i, found in zip(seen, carriers, strict=True) for _ in found]
    own = np.flatnonzero(inside.observed.any(axis=0))
    owner = np.array([*(place for found in carriers for place in found), *own], np.intp)
    values = np.concatenate((fall.values[:, columns], inside.values[:, own]), axis=1)
    seen_there = np.concatenate((fall.observed[:, columns], inside.observed[:, own]), axis=1)
    observed = seen_there & np.isfinite(values)
    # A recurrence forgets as it is drawn, and learns to remember where that is asked for.
    middle = 0.5 * float(np.ptp(fall.steps))
    fade = lasting(fall.steps, values, observed, least=middle)
    return {
        "time_fade": layer_max(fall.steps, fade, observed, owner),
        "time_swell": layer_max(fall.steps, -values, observed, owner),
    }


def _carriers(start: int, topology: Topology, names: Mapping[str, int], after: Links) -> list[int]:
    """Return the layers that carry what a layer gives along the sequence, the layer itself if none is known."""
    around = _around(topology.layers[start].name, topology, names)
    if around is not None:
        return [around]
    front, found, walked = [start], set[int](), {start}
    for _ in range(HOPS):
        front = [t for s in front for t in after.get(s, ()) if t not in walked]
        walked |= set(front)
        found |= {t for t in front if _carries(topology.layers[t])}
        front = [t for t in front if t not in found]
    return sorted(found) or [start]


def _around(name: str, topology: Topology, names: Mapping[str, int]) -> int | None:
    """Return the module around a layer that has weights of its own and so does more than to call its parts."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in names and _carries(topology.layers[names[name]]):
            return names[name]
    return None


def _carries(layer: LayerInfo) -> bool:
    """Return whether a layer may mix positions."""
    if layer.kind in {"recurrent", "attention", "conv"}:
        return True
    return bool(layer.params) and layer.kind not in SAME_PLACE and layer.type not in POSITIONWISE
