"""Growable columns: rows of float32 with an observed mask, in chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Column

__all__ = ["Table"]

FIRST_ROWS = 64


class Table:
    """Named float32 columns that share their rows; a row is open until the next one begins.

    Parameters
    ----------
    width
        Values per row of every column; None for one value per row. A wider row than before widens the
        table: parameters and groups may appear during a run.
    """

    def __init__(self, width: int | None = None) -> None:
        self._width = width
        self._steps: list[int] = []
        self._values: dict[str, NDArray[np.float32]] = {}
        self._observed: dict[str, NDArray[np.bool_]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def open(self, step: int) -> None:
        """Begin the row of one optimizer step."""
        self._steps.append(step)

    def put(self, name: str, value: float) -> None:
        """Set one value of the open row."""
        self._ensure(name)
        self._values[name][len(self._steps) - 1] = value
        self._observed[name][len(self._steps) - 1] = True

    def put_at(self, name: str, index: int, value: float) -> None:
        """Set one cell of the open row."""
        self._ensure(name, index + 1)
        self._values[name][len(self._steps) - 1, index] = value
        self._observed[name][len(self._steps) - 1, index] = True

    def put_row(self, name: str, values: NDArray[np.float32], where: NDArray[np.intp]) -> None:
        """Set the cells ``where`` of the open row."""
        if where.size == 0:
            return
        self._ensure(name, int(where.max()) + 1)
        self._values[name][len(self._steps) - 1, where] = values
        self._observed[name][len(self._steps) - 1, where] = True

    def steps(self) -> NDArray[np.int64]:
        """Return the step of every row."""
        return np.array(self._steps, np.int64)

    def columns(self) -> dict[str, Column]:
        """Return copies of all columns, each with one row per step."""
        rows = len(self._steps)
        for name in self._values:
            self._ensure(name)
        return {
            name: Column(self._values[name][:rows].copy(), self._observed[name][:rows].copy())
            for name in self._values
        }

    def _ensure(self, name: str, width: int = 0) -> None:
        if self._width is not None and width > self._width:
            self._width = width
        rows = len(self._steps)
        old = self._values.get(name)
        if old is not None and old.shape[0] >= rows and old.shape[1:] == self._shape():
            return
        capacity = max(FIRST_ROWS, rows if old is None else max(rows, old.shape[0]))
        if old is not None and rows > old.shape[0]:
            capacity = max(capacity, int(old.shape[0] * 1.5))
        values = np.zeros((capacity, *self._shape()), np.float32)
        observed = np.zeros(values.shape, bool)
        if old is not None:
            place = tuple(slice(0, n) for n in old.shape)
            values[place], observed[place] = old, self._observed[name]
        self._values[name], self._observed[name] = values, observed

    def _shape(self) -> tuple[int, ...]:
        return () if self._width is None else (self._width,)
