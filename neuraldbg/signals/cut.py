"""Parts of a network that the gradient cannot come to, although what they give out is used."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import LayerInfo, OptimizerInfo, Recording
from neuraldbg.signals.structure import beyond
from neuraldbg.signals.view import feeders_of

__all__ = ["cut_off", "is_apart"]

Flags = NDArray[np.bool_]


def cut_off(recording: Recording, missing: Flags, learns: Flags) -> Flags:
    """Return from which of the parameters that lack a gradient something keeps it, shape ``(P,)``.

    What their layer gave was taken out of the graph and came to layers that learn, or nothing that their optimizer steps
    has a gradient. What feeds nothing else, or the loss alone, may be there to look at, or to teach; and who runs a part
    without gradients may mean to.

    Parameters
    ----------
    recording
        The run.
    missing
        Shape ``(P,)``; which parameters should be trained and never have a gradient, be it zero.
    learns
        Shape ``(P,)``; which have one.
    """
    params, topology = recording.topology.params, recording.topology
    severed = {i for i, x in enumerate(topology.layers) if x.config.get("severed")}
    feeders = feeders_of(topology)
    ends = severed & beyond(feeders, {params[i].layer for i in np.flatnonzero(learns)})
    behind = ends | beyond(feeders, ends)
    owned = [{params[i].group for i in np.flatnonzero(flags)} for flags in (missing, learns)]
    idle = _idle(recording.optimizers, *owned)
    found = [p.layer in behind or p.group in idle for p in params]
    return np.asarray(missing & np.array(found, bool), dtype=bool)


def is_apart(layer: LayerInfo) -> bool:
    """Return whether a layer only ran without gradients, and feeds layers that did not."""
    return bool(layer.config.get("without_gradient"))


def _idle(optimizers: Iterable[OptimizerInfo], missing: set[int], learning: set[int]) -> set[int]:
    """Return the groups of optimizers that step something without a gradient and nothing that has one."""
    return {
        group
        for optimizer in optimizers
        if learning.isdisjoint(optimizer.groups) and not missing.isdisjoint(optimizer.groups)
        for group in optimizer.groups
    }
