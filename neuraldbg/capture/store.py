"""Columns of numbers in compact arrays that grow with what was measured and nothing else."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import Column

__all__ = ["Keys", "Settings", "Table"]

# Columns in which NaN is a symptom; elsewhere 0/0 marks "no meaning here" (no weights yet, no gradient).
MAY_BE_NAN = frozenset(
    {"weight_norm", "act_rms", "act_mean", "act_std", "act_absmax", "out_grad_norm", "out_grad_rms"}
    | {"grad_norm"}
)


class _Cells:
    """Measured cells of one column: row, place in the row, value."""

    __slots__ = ("places", "rows", "values")

    def __init__(self) -> None:
        self.rows = array("i")
        self.places = array("i")
        self.values = array("f")


class _Run:
    """Rows that have the same names: ``values`` holds so many numbers a row."""

    __slots__ = ("rows", "values")

    def __init__(self) -> None:
        self.rows = array("i")
        self.values = array("f")


class _Block(NamedTuple):
    """Several columns of one row: ``values`` has shape ``(names, places)``."""

    row: int
    names: tuple[str, ...]
    places: tuple[int, ...]
    values: NDArray[np.float32]


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
        self._runs: dict[tuple[str, ...], _Run] = {}
        self._blocks: list[_Block] = []
        self._places: dict[tuple[int, ...], tuple[int, ...]] = {}

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

    def put_all(self, numbers: Mapping[str, float]) -> None:
        """Set cells of the open row in several columns that hold one value a row."""
        names = tuple(numbers)
        run = self._runs.get(names)
        if run is None:
            run = self._runs[names] = _Run()
        run.rows.append(len(self._steps) - 1)
        run.values.extend(numbers.values())

    def put_rows(
        self, places: Sequence[int], names: tuple[str, ...], values: NDArray[np.float32]
    ) -> None:
        """Set the cells ``places`` of the open row in several columns; ``values`` is ``(names, places)``."""
        key = tuple(places)
        # The same places come every time: they are stored once.
        key = self._places.setdefault(key, key)
        self._blocks.append(_Block(len(self._steps) - 1, names, key, values))

    def steps(self) -> NDArray[np.int64]:
        """Return the step of every row."""
        return np.array(self._steps, np.int64)

    def columns(self, width: int = 1) -> dict[str, Column]:
        """Return all columns, each with one row per step; ``width`` values a row where rows are wide."""
        shape = (len(self._steps), width) if self._wide else (len(self._steps),)
        out: dict[str, Column] = {}
        for block in self._blocks:
            where = np.array(block.places, np.intp)
            for name, values in zip(block.names, block.values, strict=True):
                _fill(_column(out, name, shape), name, (block.row, where), values)
        for names, run in self._runs.items():
            found = np.array(run.rows, np.intp)
            values = np.array(run.values, np.float32).reshape(len(found), len(names))
            for name, column in zip(names, values.T, strict=True):
                _column(out, name, shape).values[found] = column
                out[name].observed[found] = True
        for name, cells in self._cells.items():
            rows, places = np.array(cells.rows, np.intp), np.array(cells.places, np.intp)
            place = (rows, places) if self._wide else rows
            _column(out, name, shape).values[place] = np.array(cells.values, np.float32)
            out[name].observed[place] = True
        return out


def _column(out: dict[str, Column], name: str, shape: tuple[int, ...]) -> Column:
    if name not in out:
        out[name] = Column(np.zeros(shape, np.float32), np.zeros(shape, bool))
    return out[name]


def _fill(
    column: Column,
    name: str,
    place: tuple[int, NDArray[np.intp]],
    values: NDArray[np.float32],
) -> None:
    row, where = place
    if name not in MAY_BE_NAN:
        keep = ~np.isnan(values)
        where, values = where[keep], values[keep]
    column.values[row, where] = values
    column.observed[row, where] = True


Keys = tuple[tuple[str, int], ...]


class Settings:
    """Columns ``(steps, groups)`` of what optimizers are set to: stored once for every change."""

    def __init__(self) -> None:
        self._rows = 0
        self._starts = array("q")
        self._values = array("f")
        self._keys: list[Keys] = []
        self._last: tuple[Keys, tuple[float, ...]] | None = None

    def put(self, keys: Keys, values: tuple[float, ...]) -> None:
        """Append a row: name and group of every setting, and its value."""
        if self._last != (keys, values):
            # A schedule changes the values at every step, but not what they belong to.
            same = self._last is not None and self._last[0] == keys
            self._keys.append(self._keys[-1] if same else keys)
            self._starts.append(self._rows)
            self._values.extend(values)
            self._last = (keys, values)
        self._rows += 1

    def columns(self) -> dict[str, Column]:
        """Return one column per name, with one row per step."""
        width = 1 + max((place for keys in self._keys for _, place in keys), default=-1)
        out: dict[str, Column] = {}
        # An empty table has an end but no start.
        ends, values = [*self._starts[1:], self._rows], iter(self._values)
        for start, end, keys in zip(self._starts, ends, self._keys, strict=False):
            for name, place in keys:
                column = _column(out, name, (self._rows, width))
                column.values[start:end, place] = next(values)
                column.observed[start:end, place] = True
        return out
