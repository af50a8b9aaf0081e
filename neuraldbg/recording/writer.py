"""Write a recording while it grows: one unbuffered write a part, synced where it matters."""

from __future__ import annotations

import os
import platform
import sys
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from neuraldbg.errors import RecordingError
from neuraldbg.recording.frames import PREFIX, FrameKind, frame
from neuraldbg.recording.notes import dump
from neuraldbg.records.recording import Fact

__all__ = ["RecordingWriter"]


class RecordingWriter:
    """Appends the parts of a recording to a new file.

    Parameters
    ----------
    path
        Replaced if it exists.
    about
        Facts of the run that go into the head, beside those of the machine.

    Attributes
    ----------
    size
        Bytes written.

    Raises
    ------
    RecordingError
        If the file cannot be created.
    """

    def __init__(self, path: str | Path, *, about: Mapping[str, Fact] | None = None) -> None:
        self.path = Path(path)
        self._started = time.monotonic()
        try:
            self._open(self.path)
        except OSError as error:
            msg = f"cannot write {str(self.path)!r}: {error.strerror}."
            raise RecordingError(msg) from error
        self._head = frame(FrameKind.HEAD, dump({**_machine(), **(about or {})}))
        self._write(PREFIX + self._head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(ended=error is None)

    def _open(self, path: Path) -> None:
        # A plain descriptor: what was acknowledged survives the death of the process.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._finalizer = weakref.finalize(self, os.close, self._file)
        self.size = 0

    def append(self, payload: bytes, *, sync: bool = False) -> None:
        """Append one part; ``sync`` waits until it is on the disk."""
        self._write(frame(FrameKind.PART, payload))
        if sync:
            os.fsync(self._file)

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Put other parts in the place of all that were written; a reader sees the old file or the new one."""
        new = self.path.with_name(self.path.name + ".new")
        self._finalizer()
        self._open(new)
        self._write(PREFIX + self._head)
        for payload in payloads:
            self.append(payload)
        os.fsync(self._file)
        new.replace(self.path)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            # A disk that is nearly full takes a piece first and fails at the next.
            left = left[os.write(self._file, left) :]
        self.size += len(data)

    def close(self, *, ended: bool = True) -> None:
        """Close the file, with an end frame if the run came to its end; safe to call more than once."""
        if not self._finalizer.alive:
            return
        if ended:
            seconds = round(time.monotonic() - self._started, 3)
            self._write(frame(FrameKind.END, dump({"seconds": seconds})))
        os.fsync(self._file)
        self._finalizer()


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
