"""Write a recording while it grows: one unbuffered write a part, synced where it matters."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from neuraldbg.errors import RecordingError
from neuraldbg.recording.frames import PREFIX, FrameKind, frame
from neuraldbg.recording.notes import dump
from neuraldbg.recording.parts import STATE, encode_part
from neuraldbg.records.recording import Fact, Recording

__all__ = ["RecordingWriter"]


class RecordingWriter:
    """Appends parts of a recording to a new file.

    Parameters
    ----------
    path
        Replaced if it exists.
    about
        Facts of the run that go into the head, beside those of the machine.

    Raises
    ------
    RecordingError
        If the file cannot be created.
    """

    def __init__(self, path: str | Path, *, about: Mapping[str, Fact] | None = None) -> None:
        self.path = Path(path)
        self._told: dict[str, Any] = {}
        self._started = time.monotonic()
        try:
            # Unbuffered: what was acknowledged survives the death of the process.
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            msg = f"cannot write {str(self.path)!r}: {error.strerror}."
            raise RecordingError(msg) from error
        head = frame(FrameKind.HEAD, dump({**_machine(), **(about or {})}))
        self._file.write(PREFIX + head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(ended=error is None)

    def append(self, part: Recording, *, sync: bool = False) -> None:
        """Append one part; ``sync`` waits until it is on the disk."""
        changed = [name for name in STATE if self._told.get(name) != getattr(part, name)]
        self._told |= {name: getattr(part, name) for name in changed}
        self._file.write(frame(FrameKind.PART, encode_part(part, state=changed)))
        if sync:
            os.fsync(self._file.fileno())

    def close(self, *, ended: bool = True) -> None:
        """Close the file, with an end frame if the run came to its end; safe to call more than once."""
        if self._file.closed:
            return
        if ended:
            seconds = round(time.monotonic() - self._started, 3)
            self._file.write(frame(FrameKind.END, dump({"seconds": seconds})))
        os.fsync(self._file.fileno())
        self._file.close()


def _machine() -> dict[str, Fact]:
    from neuraldbg import __version__  # noqa: PLC0415 - the package imports this module by and by

    return {
        "engine": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 0,
        "program": Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "",
        "rank": _whole(os.environ.get("RANK"), 0),
        "ranks": _whole(os.environ.get("WORLD_SIZE"), 1),
    }


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default
