"""Parts: a recording of some steps as one payload, and the whole recording out of its parts."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.recording.columns import Packed, Source, pack, unpack
from neuraldbg.recording.frames import Malformed
from neuraldbg.recording.notes import dump, items, parse, plain, record, state_value
from neuraldbg.records.recording import Column, LossCall, Occurrence, Recording, Topology

__all__ = ["FAMILIES", "STATE", "Joiner", "encode_part", "split"]

# Family of columns and the rows that it shares.
FAMILIES = {
    "step": "steps",
    "group": "steps",
    "grad": "steps",
    "layer": "sampled",
    "param": "sampled",
}
STATE = ("facts", "topology", "optimizers", "unobserved")
_LENGTH = struct.Struct("<I")
# A recording of more cells than this is not laid out: four times 10 000 steps of 5 000 parameters.
MAX_CELLS = 2**28
MAX_COLUMNS, MAX_WIDTH = 256, 2**20
STEPS_A_PART, CELLS_A_PART = 4096, 2**20


def encode_part(part: Recording, *, state: Iterable[str] = STATE) -> bytes:
    """Return a part as one payload.

    Parameters
    ----------
    part
        Rows, losses and occurrences that are new, and the state of the run.
    state
        The names of the state that goes along: what changed since the part before.
    """
    columns, blobs = _columns(part)
    notes = {
        "rows": {"steps": int(part.steps.size), "sampled": int(part.sampled.size)},
        "columns": columns,
        "state": {name: plain(getattr(part, name)) for name in state},
        "losses": plain(part.losses),
        "occurrences": plain(part.occurrences),
    }
    text = dump({k: v for k, v in notes.items() if v})
    rows = (part.steps, part.sampled)
    ends = [np.ascontiguousarray(r, "<i8").tobytes() for r in rows]
    return b"".join([_LENGTH.pack(len(text)), text, *ends, *blobs])


def _columns(part: Recording) -> tuple[dict[str, list[Any]], list[bytes]]:
    named: dict[str, list[Any]] = {}
    blobs: list[bytes] = []
    for family in FAMILIES:
        for name, column in getattr(part, family).items():
            packed = pack(column)
            if packed is None:
                continue
            mode, count, data = packed
            width = column.values.shape[1] if column.values.ndim == 2 else 1
            named.setdefault(family, []).append([name, mode, count, width])
            blobs += data
    return named, blobs


def split(recording: Recording) -> Iterator[Recording]:
    """Cut a recording into parts of moderate size; the last carries what happened once."""
    width = max(len(recording.topology.layers), len(recording.topology.params), 1)
    names = len(recording.layer) + len(recording.param) + len(recording.grad) + 1
    rows = max(1, min(STEPS_A_PART, CELLS_A_PART // (width * names)))
    for start in range(0, max(recording.steps.size, recording.sampled.size), rows):
        part = _cut(recording, slice(start, start + rows))
        yield replace(part, losses=(), occurrences=())
    yield _cut(recording, slice(0, 0))


def _cut(recording: Recording, rows: slice) -> Recording:
    columns: dict[str, Any] = {
        family: {
            name: Column(column.values[rows], column.observed[rows])
            for name, column in getattr(recording, family).items()
        }
        for family in FAMILIES
    }
    return replace(
        recording, steps=recording.steps[rows], sampled=recording.sampled[rows], **columns
    )


class _Piece(NamedTuple):
    """A column of one part: where its rows begin, how many and how wide they are, and its cells."""

    start: int
    rows: int
    width: int
    packed: Packed


@dataclass(slots=True)
class Joiner:
    """Takes parts in the order of time and gives the recording; a part is taken whole or not at all."""

    state: dict[str, Any] = field(default_factory=dict)
    _rows: dict[str, list[NDArray[np.int64]]] = field(
        default_factory=lambda: {"steps": [], "sampled": []}
    )
    _count: dict[str, int] = field(default_factory=lambda: {"steps": 0, "sampled": 0})
    _columns: dict[str, dict[str, list[_Piece]]] = field(
        default_factory=lambda: {family: {} for family in FAMILIES}
    )
    _losses: list[LossCall] = field(default_factory=list)
    _occurrences: list[Occurrence] = field(default_factory=list)

    def take(self, payload: bytes) -> None:
        """Take one part.

        Raises
        ------
        Malformed
            If it is not one, or makes the recording too large to lay out.
        """
        notes, source = _opened(payload)
        rows = {name: self._new_rows(name, notes, source) for name in self._rows}
        columns = list(self._new_columns(notes, source, rows))
        state = {k: state_value(k, v) for k, v in _objects(notes, "state").items()}
        losses = items(notes.get("losses", []), record(LossCall))
        occurrences = items(notes.get("occurrences", []), record(Occurrence))
        self._refuse_giants(columns, rows, state.get("topology", self.state.get("topology")))
        for family, name, piece in columns:
            self._columns[family].setdefault(name, []).append(piece)
        for name, found in rows.items():
            self._rows[name].append(found)
            self._count[name] += found.size
        self.state |= state
        self._losses += losses
        self._occurrences += occurrences

    def _new_rows(self, name: str, notes: Mapping[str, Any], source: Source) -> NDArray[np.int64]:
        count = _objects(notes, "rows").get(name, 0)
        found = source.take("<i8", _small(count, 2**32)).astype(np.int64)
        before = next((int(r[-1]) for r in reversed(self._rows[name]) if r.size), -1)
        if found.size and (found[0] <= before or (np.diff(found) <= 0).any()):
            msg = "steps that do not rise"
            raise Malformed(msg)
        return found

    def _new_columns(
        self, notes: Mapping[str, Any], source: Source, rows: Mapping[str, NDArray[np.int64]]
    ) -> Iterable[tuple[str, str, _Piece]]:
        found = _objects(notes, "columns")
        if not found.keys() <= FAMILIES.keys():
            msg = "columns of an unknown family"
            raise Malformed(msg)
        for family, entries in found.items():
            axis = FAMILIES[family]
            for name, mode, count, width in items(entries, _entry):
                size = rows[axis].size * width
                packed = unpack(source, mode, count, size)
                yield (
                    family,
                    name,
                    _Piece(self._count[axis], rows[axis].size, width, packed),
                )

    def _refuse_giants(
        self,
        columns: list[tuple[str, str, _Piece]],
        rows: Mapping[str, NDArray[np.int64]],
        topology: Topology | None,
    ) -> None:
        """Refuse what would not fit into memory once it is laid out."""
        widths = {
            (family, name): max(_least_width(family, topology), *(p.width for p in pieces))
            for family, named in self._columns.items()
            for name, pieces in named.items()
        }
        for family, name, piece in columns:
            known = widths.get((family, name), _least_width(family, topology))
            widths[family, name] = max(known, piece.width)
        count = {name: self._count[name] + found.size for name, found in rows.items()}
        cells = sum(width * count[FAMILIES[family]] for (family, _), width in widths.items())
        if cells > MAX_CELLS or len(widths) > MAX_COLUMNS:
            msg = f"a recording of {cells} cells in {len(widths)} columns, too large to lay out"
            raise Malformed(msg)

    def recording(self) -> Recording:
        """Return the recording of all parts taken.

        Raises
        ------
        Malformed
            If a loss or an occurrence names a layer that does not exist.
        """
        count = {name: self._count[name] for name in self._rows}
        topology = self.state.get("topology")
        laid: dict[str, Any] = {
            family: self._laid(family, count[axis], _least_width(family, topology))
            for family, axis in FAMILIES.items()
        }
        layers = len(topology.layers) if topology is not None else 0
        where = [*(x.layer for x in self._losses), *(x.layer for x in self._occurrences)]
        if any(not -1 <= layer < layers for layer in where):
            msg = "a loss or an occurrence in a layer that does not exist"
            raise Malformed(msg)
        return Recording(
            **self.state,
            steps=_joined(self._rows["steps"]),
            sampled=_joined(self._rows["sampled"]),
            **laid,
            losses=tuple(self._losses),
            # Stable: of two in one step the one noted first stays first, as in the live recording.
            occurrences=tuple(sorted(self._occurrences, key=lambda x: x.step)),
        )

    def _laid(self, family: str, rows: int, least: int) -> dict[str, Column]:
        columns = self._columns[family]
        width = max((p.width for pieces in columns.values() for p in pieces), default=1)
        width = max(width, least)
        shape = (rows,) if family == "step" else (rows, width)
        return {name: _lay(pieces, shape) for name, pieces in columns.items()}


def _opened(payload: bytes) -> tuple[dict[str, Any], Source]:
    if len(payload) < _LENGTH.size:
        msg = "a part without notes"
        raise Malformed(msg)
    (length,) = _LENGTH.unpack(payload[: _LENGTH.size])
    end = _LENGTH.size + length
    if end > len(payload):
        msg = "a part that is shorter than it says"
        raise Malformed(msg)
    return parse(payload[_LENGTH.size : end]), Source(payload, end)


def _objects(notes: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = notes.get(key, {})
    if not isinstance(found, dict):
        msg = f"{key} that are not named"
        raise Malformed(msg)
    return found


def _small(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        msg = f"{str(value)[:20]!r} where a small whole number belongs"
        raise Malformed(msg)
    return value


def _entry(value: object) -> tuple[str, str, int, int]:
    if not isinstance(value, list) or len(value) != 4:
        msg = "a column that is not described"
        raise Malformed(msg)
    name, mode, count, width = value
    if not isinstance(name, str) or not isinstance(mode, str) or len(name) > 128:
        msg = "a column without a name"
        raise Malformed(msg)
    return name, mode, _small(count, 2**32), _small(width, MAX_WIDTH)


def _least_width(family: str, topology: Topology | None) -> int:
    """Return how wide the rows of a family are at least: parameters may be added during a run."""
    if topology is None or family in {"step", "group"}:
        return 1
    return len(topology.layers if family == "layer" else topology.params)


def _joined(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _lay(pieces: list[_Piece], shape: tuple[int, ...]) -> Column:
    values, observed = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for start, rows, width, (where, found) in pieces:
        index: Any = np.arange(rows * width) if where is None else where
        row, place = start + index // max(width, 1), index % max(width, 1)
        at = row if len(shape) == 1 else (row, place)
        values[at] = found
        observed[at] = True
    return Column(values, observed)
