"""Columns of numbers in compact arrays that grow with what was measured and nothing else."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Column

__all__ = ["Table"]


class _Cells:
    """Measured cells of one column: row, place in the row, value."""

    __slots__ = ("places", "rows", "values")

    def __init__(self) -> None:
        self.rows = array("i")
        self.places = array("i")
        self.values = array("f")


class Table:
    """Named float32 columns that share their rows; a row is open until the next one begins.

    Only measured cells are kept; ``columns`` lays them out with an observed mask.

    Parameters
    ----------
    wide
        Whether a row of a column holds many values (one per layer or parameter) or one.
    """

    def __init__(self, *, wide: bool) -> None:
        self._wide = wide
        self._steps = array("q")
        self._cells: dict[str, _Cells] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def open(self, step: int) -> None:
        """Begin the row of one optimizer step."""
        self._steps.append(step)

    def put(self, name: str, value: float, place: int = 0) -> None:
        """Set one cell of the open row; of two values for one cell the later counts."""
        cells = self._cells.get(name)
        if cells is None:
            cells = self._cells[name] = _Cells()
        cells.rows.append(len(self._steps) - 1)
        cells.places.append(place)
        cells.values.append(value)

    def put_row(self, name: str, values: NDArray[np.float32], where: NDArray[np.intp]) -> None:
        """Set the cells ``where`` of the open row."""
        cells = self._cells.setdefault(name, _Cells())
        row = np.full(where.size, len(self._steps) - 1, np.int32)
        cells.rows.frombytes(row.tobytes())
        cells.places.frombytes(where.astype(np.int32).tobytes())
        cells.values.frombytes(values.astype(np.float32).tobytes())

    def steps(self) -> NDArray[np.int64]:
        """Return the step of every row."""
        return np.array(self._steps, np.int64)

    def columns(self, width: int = 1) -> dict[str, Column]:
        """Return all columns, each with one row per step; ``width`` values a row where rows are wide."""
        shape = (len(self._steps), width) if self._wide else (len(self._steps),)
        return {name: _lay(cells, shape) for name, cells in self._cells.items()}

    def width(self) -> int:
        """Return one more than the largest place ever set."""
        return max((max(c.places, default=-1) for c in self._cells.values()), default=-1) + 1


def _lay(cells: _Cells, shape: tuple[int, ...]) -> Column:
    values, observed = np.zeros(shape, np.float32), np.zeros(shape, bool)
    rows, places = np.array(cells.rows, np.intp), np.array(cells.places, np.intp)
    place = rows if len(shape) == 1 else (rows, places)
    values[place] = np.array(cells.values, np.float32)
    observed[place] = True
    return Column(values, observed)
