"""Frames: type, flags, length, checksum, payload; a reader stops at the first one that is not whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import BinaryIO, NamedTuple

from neuraldbg.errors import RecordingError

__all__ = [
    "MAX_PAYLOAD",
    "PREFIX",
    "VERSION",
    "Frame",
    "FrameKind",
    "FrameReader",
    "Malformed",
    "frame",
]

VERSION = 1
# As in PNG: the first byte is not ASCII and the line ends are mixed, so that a transfer as text shows.
MAGIC = b"\x89NDBG\r\n\x1a"
PREFIX = MAGIC + struct.pack("<I", VERSION)
# type, flags, reserved, payload length, CRC32 of these eight bytes and the payload.
_START, _CHECK = struct.Struct("<BBHI"), struct.Struct("<I")
HEADER_SIZE = _START.size + _CHECK.size
MAX_PAYLOAD = 64 * 2**20
# A frame with this flag may be passed over by a reader that does not know its type.
OPTIONAL = 1


class Malformed(ValueError):  # noqa: N818 - not an error of the user: it becomes a note or a RecordingError
    """Bytes that no writer of this format wrote."""


class FrameKind(IntEnum):
    """What a frame holds."""

    HEAD = 1
    PART = 2
    END = 3


class Frame(NamedTuple):
    """One whole frame whose checksum is right."""

    kind: FrameKind
    payload: bytes


def frame(kind: FrameKind, payload: bytes) -> bytes:
    """Return the bytes of one frame.

    Raises
    ------
    Malformed
        If the payload is larger than a reader accepts.
    """
    if len(payload) > MAX_PAYLOAD:
        msg = f"a frame of {len(payload)} bytes; at most {MAX_PAYLOAD} are allowed"
        raise Malformed(msg)
    start = _START.pack(kind, 0, 0, len(payload))
    return start + _CHECK.pack(zlib.crc32(payload, zlib.crc32(start))) + payload


class FrameReader:
    """Iterates over the whole frames of an open file, and remembers where and why it stopped.

    Parameters
    ----------
    file
        Open for reading, at its beginning.

    Attributes
    ----------
    offset
        First byte after the last whole frame.
    damage
        Why reading stopped before the end of the file; empty if it did not.

    Raises
    ------
    RecordingError
        If it is not a recording, or one of a newer version.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        found = file.read(len(PREFIX))
        if found[: len(MAGIC)] != MAGIC[: len(found)] or len(found) < len(PREFIX):
            msg = "it does not begin like a recording. Was it written by NeuralDbg(model, save=…)?"
            raise RecordingError(msg)
        (version,) = struct.unpack("<I", found[len(MAGIC) :])
        if version != VERSION:
            msg = (
                f"it has format version {version}, and this NeuralDBG reads version {VERSION}. "
                "Read it with the version that wrote it."
            )
            raise RecordingError(msg)
        self.offset = len(PREFIX)
        self.damage = ""

    def __iter__(self) -> Iterator[Frame]:
        while not self.damage:
            start = self._file.read(HEADER_SIZE)
            if not start:
                return
            found = self._take(start)
            if found is not None:
                yield found

    def _take(self, start: bytes) -> Frame | None:
        """Return the frame that begins with these bytes; None if it is damaged or unknown."""
        if len(start) < HEADER_SIZE:
            self.damage = "cut within a frame"
            return None
        kind, flags, reserved, length = _START.unpack(start[: _START.size])
        if length > MAX_PAYLOAD or reserved:
            self.damage = "a frame header that makes no sense"
            return None
        payload = self._file.read(length)
        if len(payload) < length:
            self.damage = "cut within a frame"
            return None
        return self._checked(start, payload, kind, flags)

    def _checked(self, start: bytes, payload: bytes, kind: int, flags: int) -> Frame | None:
        (expected,) = _CHECK.unpack(start[_START.size :])
        if zlib.crc32(payload, zlib.crc32(start[: _START.size])) != expected:
            self.damage = "a frame whose checksum is wrong"
            return None
        known = kind in set(FrameKind)
        if not known and not flags & OPTIONAL:
            self.damage = f"a frame of unknown type {kind}"
            return None
        self.offset += len(start) + len(payload)
        return Frame(FrameKind(kind), payload) if known else None
