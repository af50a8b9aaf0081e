"""Bound a long recording: which rows to keep when there are too many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neuraldbg.recording.parts import FAMILIES
from neuraldbg.records.recording import Column, Recording

__all__ = ["most_steps", "thinned"]

# Rows at the beginning and at the end, and next to a moment that matters, stay whatever else goes.
FIRST, LAST = 64, 256
NARROW, WIDE = 2, 16
# A column of parameters laid out is no larger than this, nor are there more rows of steps.
MOST_CELLS, MOST_STEPS, FEWEST_STEPS = 2**25, 2**17, 2**12


def most_steps(recording: Recording) -> int:
    """Return how many rows of steps a recording may have: 33 000 for a thousand parameters."""
    width = max(len(recording.topology.params), 1)
    return max(FEWEST_STEPS, min(MOST_STEPS, MOST_CELLS // width))


def thinned(recording: Recording, moments: Iterable[int], *, steps: int, sampled: int) -> Recording:
    """Return the recording with at most so many rows of each kind.

    Parameters
    ----------
    recording
        Any recording.
    moments
        Steps that matter, such as onsets of events: the rows around them stay.
    steps, sampled
        How many rows of steps and of sampled steps to keep.

    Notes
    -----
    Kept in this order: the first and last rows; the rows with the largest and smallest value of any column
    (peaks); those next to the moments; then every 2^k-th step, for the smallest k that fits. What is thinned
    again keeps the coarser of both grids, so a long run ends with even gaps.
    """
    marks = np.array(sorted(set(moments)), np.int64)
    axes = {"steps": (recording.steps, steps), "sampled": (recording.sampled, sampled)}
    keep = {
        axis: _kept(rows, _columns(recording, axis), marks, most)
        for axis, (rows, most) in axes.items()
    }
    columns = {
        family: {
            name: Column(column.values[keep[axis]], column.observed[keep[axis]])
            for name, column in getattr(recording, family).items()
        }
        for family, axis in FAMILIES.items()
    }
    return replace(
        recording,
        steps=recording.steps[keep["steps"]],
        sampled=recording.sampled[keep["sampled"]],
        step=columns["step"],
        group=columns["group"],
        grad=columns["grad"],
        layer=columns["layer"],
        param=columns["param"],
    )


def _columns(recording: Recording, axis: str) -> list[Column]:
    named: list[Mapping[str, Column]] = [
        getattr(recording, family) for family, of in FAMILIES.items() if of == axis
    ]
    return [column for columns in named for column in columns.values()]


def _kept(
    rows: NDArray[np.int64], columns: list[Column], marks: NDArray[np.int64], most: int
) -> NDArray[np.intp]:
    """Return the indices of the rows to keep, rising."""
    if rows.size <= most:
        return np.arange(rows.size)
    rank = np.full(rows.size, 3)
    distance = _distance(rows, marks)
    rank[distance <= WIDE] = 2
    rank[distance <= NARROW] = 1
    rank[_peaks(columns, rows.size)] = 0
    rank[: min(FIRST, most // 4)] = rank[rows.size - min(LAST, most // 4) :] = -1
    order = np.lexsort((_grid(rows), rank))
    return np.sort(order[:most])


def _grid(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 1 for the rows of the coarsest grid, more for those that a finer one adds."""
    level = np.zeros(rows.size, np.int64)
    for power in range(1, 48):
        level += rows % (1 << power) == 0
    return 49 - level


def _distance(rows: NDArray[np.int64], marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many rows each row is away from the nearest mark."""
    place = np.unique(np.clip(np.searchsorted(rows, marks), 0, rows.size - 1))
    if not place.size:
        return np.full(rows.size, rows.size)
    here = np.arange(rows.size)
    after = np.clip(np.searchsorted(place, here), 0, place.size - 1)
    before = np.clip(after - 1, 0, place.size - 1)
    away: NDArray[np.int64] = np.minimum(np.abs(place[after] - here), np.abs(place[before] - here))
    return away


def _peaks(columns: list[Column], rows: int) -> NDArray[np.intp]:
    """Return the rows that hold the largest or the smallest value of a column."""
    found = set()
    for values, observed in columns:
        flat = values.reshape(rows, -1)
        seen = observed.reshape(rows, -1) & np.isfinite(flat)
        if seen.any():
            found.add(int(np.argmax(np.where(seen, flat, -np.inf)) // flat.shape[1]))
            found.add(int(np.argmin(np.where(seen, flat, np.inf)) // flat.shape[1]))
    return np.array(sorted(found), np.intp)
