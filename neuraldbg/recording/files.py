"""Whole recordings to files and back; a file that was cut, or is still growing, gives what is whole of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from neuraldbg.errors import RecordingError
from neuraldbg.recording.frames import FrameKind, FrameReader, Malformed
from neuraldbg.recording.log import RecordingLog
from neuraldbg.recording.notes import checked_facts, parse
from neuraldbg.recording.parts import Joiner
from neuraldbg.recording.writer import RecordingWriter
from neuraldbg.records.recording import Fact, Recording, Unobserved

__all__ = ["UNFINISHED", "head_of", "read_recording", "write_recording"]

UNFINISHED = Unobserved(
    "the end of the run",
    "the recording has no end: the run was killed, or is still going",
)


def write_recording(recording: Recording, path: str | Path) -> Path:
    """Write a whole recording and return the path.

    Raises
    ------
    RecordingError
        If the file cannot be written.
    """
    log = RecordingLog()
    log.replace(recording)
    with RecordingWriter(path) as writer:
        for payload in log.payloads:
            writer.append(payload)
    return Path(path)


@dataclass(slots=True)
class _Found:
    """What reading a file came to."""

    head: dict[str, Fact]
    joiner: Joiner
    ended: bool = False
    damage: str = ""
    lost: int = 0


def read_recording(path: str | Path) -> Recording:
    """Return the recording in a file: all its whole parts.

    What is missing, because the run was killed, is still going, or the file is damaged, is told in
    ``unobserved``.

    Raises
    ------
    RecordingError
        If there is no such file or it is not a recording.
    """
    with _opened(path) as file:
        found = _read(file)
        size = os.fstat(file.fileno()).st_size
        recording = found.joiner.recording()
    missing = []
    if found.damage:
        missing.append(
            Unobserved("the tail of the recording", f"{found.damage} ({size - found.lost} bytes)")
        )
    if not found.ended:
        missing.append(UNFINISHED)
        recording = replace(recording, facts={**recording.facts, "finished": False})
    return replace(recording, unobserved=(*recording.unobserved, *missing))


def head_of(path: str | Path) -> dict[str, Fact]:
    """Return the facts of machine and program that a recording begins with.

    Raises
    ------
    RecordingError
        If there is no such file or it is not a recording.
    """
    with _opened(path) as file:
        for kind, payload in FrameReader(file):
            if kind is FrameKind.HEAD:
                return checked_facts(parse(payload))
            break
    return {}


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a recording; what goes wrong is told with the name of the file."""
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {error.strerror or error}."
        raise RecordingError(msg) from error
    except (RecordingError, Malformed) as error:
        msg = f"{str(path)!r} cannot be read as a recording: {error}"
        raise RecordingError(msg) from error


def _read(file: BinaryIO) -> _Found:
    reader = FrameReader(file)
    found = _Found({}, Joiner())
    good = reader.offset
    for kind, payload in reader:
        try:
            _take(found, kind, payload)
        except Malformed as error:
            reader.damage = str(error)
            break
        good = reader.offset
    found.damage, found.lost = reader.damage, good
    return found


def _take(found: _Found, kind: FrameKind, payload: bytes) -> None:
    if kind is FrameKind.PART:
        found.joiner.take(payload)
    elif kind is FrameKind.HEAD:
        found.head = checked_facts(parse(payload))
    else:
        parse(payload)
        found.ended = True
