"""Layers behind weights that are zero at first: what reaches them is small until these have grown, and is meant to be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Recording, Topology
from neuraldbg.signals.structure import WEIGHTED, sources
from neuraldbg.signals.view import ParamReader, links, matrix_params

__all__ = ["behind_newborns"]

# A weight that began at zero passes gradients on as later ones once it is within a decade of its largest size.
GROWN = 0.1


def behind_newborns(recording: Recording) -> NDArray[np.bool_]:
    """Return at which sampled steps every way from a layer to the outputs passes a weight still close to zero.

    Returns
    -------
    numpy.ndarray
        Shape ``(sampled, L)``. A weight that stays zero is none that grows: what is behind it is judged.
    """
    topology, count = recording.topology, recording.sampled.size
    grown = _grown(recording)
    if not grown:
        return np.zeros((count, len(topology.layers)), bool)
    return np.arange(count)[:, None] < _reached(topology, grown)[None, :]


def _grown(recording: Recording) -> dict[int, int]:
    """Return, by layer all of whose matrices were zero at first, the first row at which they have grown."""
    params = matrix_params(recording.topology)
    if not params or not recording.sampled.size:
        return {}
    reader = ParamReader(recording, params)
    zero = reader.born_zero()
    norm, seen = reader("weight_norm")
    norm = np.where(seen & np.isfinite(norm), norm, 0.0)
    owner = np.array([recording.topology.params[i].layer for i in params])
    found = {}
    for layer in np.unique(owner):
        mine = owner == layer
        size = norm[:, mine].max(axis=1)
        if zero[mine].all():
            found[int(layer)] = int(np.argmax(size >= GROWN * size.max()))
    return found


def _reached(topology: Topology, grown: dict[int, int]) -> NDArray[np.int64]:
    """Return the row from which on gradients reach each layer by some way, shape ``(L,)``."""
    # What has no weights is an end only where a loss is made of it.
    readers = links(
        (layer, reader)
        for reader, feeders in sources(topology).items()
        if topology.layers[reader].kind in WEIGHTED or reader in topology.outputs
        for layer in feeders
    )
    rows = np.zeros(len(topology.layers), np.int64)
    # From the outputs backward; a second round for what comes back to a layer that ran earlier.
    backward = sorted(readers, key=lambda i: -topology.layers[i].order)
    for layer in (*backward, *backward):
        ahead = readers[layer] - {layer}
        if layer not in topology.outputs and ahead:
            rows[layer] = min(max(rows[i], grown.get(i, 0)) for i in ahead)
    return rows
