"""Columns of many ranks, taken one rank after the other and joined when all were taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuraldbg.merging.rules import Rule
from neuraldbg.records.recording import Column

__all__ = ["Axis", "Pool", "Squares"]

Array = NDArray[Any]
# A value of one rank further than this factor from the mean of all stands for the run.
FAR = 3.0
TINY = 1e-30


@dataclass(slots=True)
class Axis:
    """The steps that any rank has rows for, and what is laid out along them."""

    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tables: list[Pool | Squares] = field(default_factory=list)

    def place(self, steps: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the rows of these steps; rows that are new are made."""
        if not np.isin(steps, self.steps, assume_unique=True).all():
            old, self.steps = self.steps, np.union1d(self.steps, steps)
            rows = np.searchsorted(self.steps, old)
            for table in self.tables:
                table.spread(rows, self.steps.size)
        return np.searchsorted(self.steps, steps)


def _spread(values: Array, rows: Array, size: int, empty: float) -> Array:
    out = np.full((size, *values.shape[1:]), empty, values.dtype)
    out[rows] = values
    return out


class Pool:
    """One column, joined by its rule over the ranks that measured each cell.

    Parameters
    ----------
    rule
        How.
    shape
        Rows, and for wide columns places in a row.
    """

    def __init__(self, rule: Rule, shape: tuple[int, ...]) -> None:
        self._rule = rule
        self._count = np.zeros(shape, np.int32)
        self._total = np.zeros(shape, np.float64)
        bounded = rule != "mean"
        self._least = np.full(shape if bounded else (0,), np.inf, np.float32)
        self._most = np.full(shape if bounded else (0,), -np.inf, np.float32)

    def spread(self, rows: Array, size: int) -> None:
        """Move the rows to where they are among more of them."""
        self._count = _spread(self._count, rows, size, 0)
        self._total = _spread(self._total, rows, size, 0.0)
        if self._rule != "mean":
            self._least = _spread(self._least, rows, size, np.inf)
            self._most = _spread(self._most, rows, size, -np.inf)

    def take(self, column: Column, rows: Array) -> None:
        """Take one rank's column; its rows lie at ``rows``."""
        seen, values = column.observed, column.values
        with np.errstate(all="ignore"):
            self._count[rows] += seen
            self._total[rows] += np.where(seen, self._added(values), 0.0)
            if self._rule != "mean":
                # A NaN wins: it is a symptom, and of the run if of any rank.
                self._least[rows] = np.minimum(self._least[rows], np.where(seen, values, np.inf))
                self._most[rows] = np.maximum(self._most[rows], np.where(seen, values, -np.inf))

    def _added(self, values: Array) -> Array:
        """Return what the mean is taken of: sizes that differ by orders of magnitude have a geometric one."""
        return np.log(np.maximum(values, TINY)) if self._rule == "extreme" else values

    def column(self) -> Column:
        """Return the column of the run."""
        seen = self._count > 0
        with np.errstate(all="ignore"):
            mean = np.where(seen, self._total / np.maximum(self._count, 1), 0.0)
            if self._rule == "largest":
                mean = np.where(seen, self._most, 0.0)
            elif self._rule == "smallest":
                mean = np.where(seen, self._least, 0.0)
            elif self._rule == "extreme":
                mean = np.exp(mean)
                low, high = mean / np.maximum(self._least, TINY), self._most / mean
                furthest = np.where(low > high, self._least, self._most)
                mean = np.where(np.fmax(low, high) > FAR, furthest, mean)
                mean = np.where(np.isnan(self._most), np.nan, mean)
        return Column(np.where(seen, mean, 0.0).astype(np.float32), seen)


class Squares:
    """One column of norms of shards: the root of their weighted squares.

    Parameters
    ----------
    shape
        Rows, and for wide columns places in a row.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = np.zeros(shape, np.int32)
        self._total = np.zeros(shape, np.float64)
        self._weight = np.zeros(shape, np.float64)

    def spread(self, rows: Array, size: int) -> None:
        """Move the rows to where they are among more of them."""
        self._count = _spread(self._count, rows, size, 0)
        self._total = _spread(self._total, rows, size, 0.0)
        self._weight = _spread(self._weight, rows, size, 0.0)

    def take(self, column: Column, rows: Array, weight: Array) -> None:
        """Take one rank's column and the weight of every cell of it."""
        seen = column.observed
        with np.errstate(all="ignore"):
            self._count[rows] += seen
            self._total[rows] += np.where(seen, weight * column.values.astype(np.float64) ** 2, 0.0)
            self._weight[rows] += np.where(seen, weight, 0.0)

    def column(self, *, needed: Array | int, whole: Array | float | None) -> Column:
        """Return the column of the run.

        Parameters
        ----------
        needed
            How many ranks must have measured a cell: a sum of some shards only is no norm.
        whole
            How often every entry was counted, where the squares add up to a whole; None for a mean square.
        """
        seen = (self._count > 0) & (self._count >= needed)
        with np.errstate(all="ignore"):
            values = np.sqrt(self._total / (self._weight if whole is None else whole))
        return Column(np.where(seen, values, 0.0).astype(np.float32), seen)
