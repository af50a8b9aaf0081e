"""Where the signal ends: a layer that is fed the same for every example, though what feeds it differs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.structure import WEIGHTED
from neuraldbg.signals.view import (
    Links,
    ParamReader,
    feeders_of,
    layer_max,
    layer_series,
    matrix_params,
    owners,
)

__all__ = ["signal_lost"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Steps = NDArray[np.int64]
# Regimes of nonlinearities that are read where they are: silence there has events of its own.
READ = ("dead_share", "saturated_share")
# Weights of which less than this share of their first size is left no longer pass on what they are fed.
SHRUNK = 0.1
# A spread that is smaller is rounding.
FLOOR = 1e-9
# Decades that a spread lies below the size of an output whose bias is most of it; below that nothing is left to lose.
SPREAD = 3.0


def signal_lost(recording: Recording) -> dict[str, Series]:
    """Return by how many decades the spread over the batch falls between a layer with weights and the one it feeds.

    Only where nothing lies between them but modules and functions of the user's own, of which nobody knows what
    they do: told at the layer before. Zero where the signal goes on.
    """
    if not recording.sampled.size:
        return {}
    steps, narrow, seen = _narrowness(recording)
    gaps = {i: before for i, before in _gaps(recording).items() if seen[:, i].any()}
    if not gaps:
        return {}
    after, before = list(gaps), list(gaps.values())
    known = seen[:, after] & seen[:, before]
    fall = np.where(
        known & (narrow[:, before] <= SPREAD), narrow[:, after] - narrow[:, before], 0.0
    )
    return {"signal_lost": layer_max(steps, fall, known, np.array(before))}


def _narrowness(recording: Recording) -> tuple[Steps, Array, Flags]:
    """Return by how many decades the spread of a layer is below its size, and where that was seen.

    A layer whose weights are zero, or have shrunk to a tenth, gives much the same whatever it is fed: of such nothing
    is known.
    """
    spread, size = layer_series(recording, "act_std"), layer_series(recording, "act_rms")
    seen = spread.observed & size.observed & (size.values > 0) & np.isfinite(spread.values)
    params = matrix_params(recording.topology)
    norm, known = ParamReader(recording, params)("weight_norm")
    weighs = np.zeros_like(seen)
    for column, index in enumerate(params):
        length = np.where(known[:, column], norm[:, column], 0.0)
        holds = (length > 0) & (length >= SHRUNK * length[0])
        weighs[:, recording.topology.params[index].layer] |= holds
    seen &= weighs
    ratio = np.where(seen, spread.values, 1.0) / np.where(seen, size.values, 1.0)
    return spread.steps, -np.log10(np.maximum(ratio, FLOOR)), seen


def _gaps(recording: Recording) -> dict[int, int]:
    """Return, by layer, the only layer that feeds it, where nothing that is read lies in between.

    Of several that are added up the largest would count, and which that is may change from step to step.
    """
    topology, owner = recording.topology, owners(recording.topology)
    feeders = feeders_of(topology)
    read = {
        int(owner[i])
        for name in READ
        for i in np.flatnonzero(layer_series(recording, name).observed.any(axis=0))
    }
    weighted = [i for i in feeders if topology.layers[i].kind in WEIGHTED]
    found = {i: _before(topology, feeders, i) for i in weighted}
    return {i: max(b) for i, b in found.items() if len(b) == 1 and not b & read}


def _before(topology: Topology, feeders: Links, target: int) -> set[int]:
    """Return the layers with weights that feed one by way of the user's own modules; none if others lie between."""
    before, walked, ahead = set[int](), set[int](), [*feeders[target]]
    while ahead:
        layer = ahead.pop()
        kind = topology.layers[layer].kind
        if kind in WEIGHTED:
            before.add(layer)
        elif kind != "other":
            return set()
        elif layer not in walked:
            walked.add(layer)
            ahead += feeders.get(layer, ())
    return before
