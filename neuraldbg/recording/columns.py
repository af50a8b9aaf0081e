"""Columns as bytes and back: only measured values are stored, with the cheapest way to say which those are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.recording.frames import Malformed
from neuraldbg.records.recording import Column

__all__ = ["Packed", "Source", "pack", "unpack"]

# All cells measured; a bit for each cell; or the index of each measured cell.
DENSE, BITS, INDEX = "dense", "bits", "index"


class Packed(NamedTuple):
    """A column of one part.

    Attributes
    ----------
    where
        Indices of the measured cells in the flattened part, or None for all.
    values
        float32, one per measured cell.
    """

    where: NDArray[np.intp] | None
    values: NDArray[np.float32]


class Source:
    """Hands out arrays of a payload one after the other.

    Raises
    ------
    Malformed
        If more is asked for than is there.
    """

    def __init__(self, payload: bytes, offset: int) -> None:
        self._payload = payload
        self._offset = offset

    def take(self, dtype: str, count: int) -> NDArray[Any]:
        """Return the next ``count`` numbers, a read-only view."""
        size = np.dtype(dtype).itemsize * count
        if count < 0 or self._offset + size > len(self._payload):
            msg = "a part that is shorter than it says"
            raise Malformed(msg)
        found = np.frombuffer(self._payload, dtype, count, self._offset)
        self._offset += size
        return found


def pack(column: Column) -> tuple[str, int, list[bytes]] | None:
    """Return mode, number of measured cells and the bytes of a column; None if nothing was measured."""
    flat = column.observed.reshape(-1)
    count = int(flat.sum())
    if count == 0:
        return None
    values = np.ascontiguousarray(column.values.reshape(-1)[flat], "<f4").tobytes()
    if count == flat.size:
        return DENSE, count, [values]
    if 4 * count < flat.size / 8:
        where = np.flatnonzero(flat).astype("<u4")
        return INDEX, count, [where.tobytes(), values]
    return BITS, count, [np.packbits(flat).tobytes(), values]


def unpack(source: Source, mode: object, count: int, size: int) -> Packed:
    """Return the next column of a part of ``size`` cells.

    Raises
    ------
    Malformed
        If mode, count and size do not go together.
    """
    where: NDArray[np.intp] | None = None
    if mode == BITS:
        bits = np.unpackbits(source.take("u1", (size + 7) // 8))[:size]
        where = np.flatnonzero(bits)
    elif mode == INDEX:
        where = source.take("<u4", count).astype(np.intp)
        if where.size and int(where.max()) >= size:
            msg = "a column with cells outside of its rows"
            raise Malformed(msg)
    elif mode != DENSE:
        msg = f"a column stored in an unknown way {str(mode)[:20]!r}"
        raise Malformed(msg)
    if count != (size if where is None else where.size):
        msg = "a column with another number of values than it says"
        raise Malformed(msg)
    return Packed(where, source.take("<f4", count))
