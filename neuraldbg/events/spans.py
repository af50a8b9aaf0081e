"""From a mask over time to the span in which a regime holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["lasting", "lasting_spans"]


def lasting(mask: NDArray[np.bool_], patience: int) -> NDArray[np.bool_]:
    """Return the points of a mask that belong to a run of at least ``patience`` True points.

    Parameters
    ----------
    mask
        Shape ``(n,)`` or ``(n, K)``; time is the first axis.
    patience
        Shortest run that counts, in points; at least 1. A series shorter than ``patience`` is judged
        as a whole, so that a short run can still show a lasting regime.

    Returns
    -------
    ndarray
        Same shape as ``mask``.
    """
    need = min(patience, mask.shape[0])
    if need <= 1:
        return mask.copy()
    columns = mask.reshape(mask.shape[0], -1)
    kept = np.zeros_like(columns)
    for k in np.flatnonzero(columns.sum(axis=0) >= need):
        for first, stop in lasting_spans(columns[:, k], need):
            kept[first:stop, k] = True
    return kept.reshape(mask.shape)


def lasting_spans(mask: NDArray[np.bool_], patience: int) -> list[tuple[int, int]]:
    """Return the half-open runs of True that are at least ``patience`` points long, shape ``(n,)`` in."""
    # Padding both ends turns a run that touches the border into an ordinary rise and fall.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    long = stops - starts >= patience
    return [(int(a), int(b)) for a, b in zip(starts[long], stops[long], strict=True)]
