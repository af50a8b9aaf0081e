"""Parts of a network that the gradient cannot come to, although what they give out is used."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import LayerInfo, OptimizerInfo, Recording
from neuraldbg.signals.structure import beyond
from neuraldbg.signals.view import ParamReader, feeders_of

__all__ = ["cut_off", "is_apart", "is_detached"]

Flags = NDArray[np.bool_]
# Standard errors within which a weight is as it was drawn; of some ten thousand one is further off.
SURE = 4.0


def cut_off(recording: Recording, missing: Flags, zero: Flags, learns: Flags) -> Flags:
    """Return from which of the parameters that lack a gradient something keeps it, shape ``(P,)``.

    They were taken out of the graph themselves, and used; what their layer gave was, and came to layers or
    numbers that learn, or only chose what others work on; or
    nothing that their optimizer steps has a gradient, or nothing in a group of theirs whose layers run: who gives a part
    a rate of its own means to train it. What feeds nothing else, or the loss alone, may be there to look at, or to
    teach; and who runs a part without gradients may mean to, unless it is as it was drawn: then nobody has trained it
    before, either.

    Parameters
    ----------
    recording
        The run.
    missing
        Shape ``(P,)``; which parameters should be trained and never have a gradient but zero.
    zero
        Shape ``(P,)``; which have at least that: by another way, as of a term whose weight is zero, or by one on which it
        is lost, as a softmax over one entry.
    learns
        Shape ``(P,)``; which have one.
    """
    params, topology = recording.topology.params, recording.topology
    severed = {i for i, x in enumerate(topology.layers) if x.config.get("severed")}
    feeders, learning = feeders_of(topology), {params[i].layer for i in np.flatnonzero(learns)}
    # Nothing comes back by an index or a comparison, nor by what was cut off, wherever it is used.
    chooses = {i for i, x in enumerate(topology.layers) if x.config.get("chooses")}
    ends = severed & beyond(feeders, learning) | chooses
    # Zeros come from a layer that learns nothing as well, as of one whose weights are zero: the next one has to learn.
    passed = learning | ({*range(len(topology.layers))} - {p.layer for p in params})
    last = severed & beyond({i: feeders.get(i, set()) for i in passed}, learning)
    behind, lost = (found | beyond(feeders, found) for found in (ends, last))
    never = missing & ~zero
    silent, learned = (
        {params[i].group for i in np.flatnonzero(flags)} for flags in (never, learns)
    )
    run = {p.group for p in params if topology.layers[p.layer].order >= 0}
    idle = _idle(recording.optimizers, silent, learned) | (silent & run) - learned
    apart = {i for i, x in enumerate(topology.layers) if is_apart(x)}
    drawn = apart if _as_drawn(recording, apart) else set[int]()
    kept = behind | drawn | {i for i, x in enumerate(topology.layers) if is_detached(x)}
    nothing = np.array([p.layer in kept or p.group in idle for p in params], bool)
    zeros = np.array([p.layer in lost for p in params], bool)
    return np.asarray((never & nothing) | (missing & zero & zeros), dtype=bool)


def is_apart(layer: LayerInfo) -> bool:
    """Return whether a layer only ran without gradients, and feeds layers that did not."""
    return bool(layer.config.get("without_gradient"))


def is_detached(layer: LayerInfo) -> bool:
    """Return whether a parameter of a layer was taken out of the graph before it was used."""
    return bool(layer.config.get("detached"))


def _as_drawn(recording: Recording, layers: set[int]) -> bool:
    """Return whether the weights of some linear layers and convolutions are as PyTorch draws them.

    That is from ``U(-b, b)`` with ``b = 1 / sqrt(fan_in)``, of which the variance is known up to ``0.8 / entries``.
    """
    params, kinds = recording.topology.params, recording.topology.layers
    chosen = [
        i
        for i, p in enumerate(params)
        if p.layer in layers and p.kind == "matrix" and kinds[p.layer].kind in {"linear", "conv"}
    ]
    gain, seen = ParamReader(recording, chosen)("init_gain")
    if not chosen or not seen[:1].all():
        return False
    entries = np.array([float(np.prod(params[i].shape)) for i in chosen])
    error = np.sqrt(0.8 / entries) / 2
    return bool((np.abs(gain[0] * np.sqrt(3.0) - 1.0) < SURE * error).all())


def _idle(optimizers: Iterable[OptimizerInfo], missing: set[int], learning: set[int]) -> set[int]:
    """Return the groups of optimizers that step something without a gradient and nothing that has one."""
    return {
        group
        for optimizer in optimizers
        if learning.isdisjoint(optimizer.groups) and not missing.isdisjoint(optimizer.groups)
        for group in optimizer.groups
    }
