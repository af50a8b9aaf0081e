"""Keep what capture sees: take its rows in parts, bound them, and write them to a file if one is wanted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neuraldbg.capture import Capture, rank_and_count
from neuraldbg.errors import CaptureWarning
from neuraldbg.recording import RecordingLog, RecordingWriter, most_steps, thinned
from neuraldbg.records.recording import Recording

if TYPE_CHECKING:
    from neuraldbg.records.catalogue import Catalogue

__all__ = ["LIMIT", "Keeper"]

# Bytes of a recording, in memory and in its file: with the part that passes it, and the headers of the frames,
# a file stays below 64 MiB.
LIMIT = 63 * 2**20
# Rows are taken over when so many have gathered: often for a file that others read, else seldom.
SAVED, UNSAVED = (64, 1), (2048, 32)
SECONDS = 2.0


class Keeper:
    """Holds the recording of one watched run while it grows.

    Parameters
    ----------
    capture
        Its source.
    save
        File to write while the run goes on; None to keep it in memory only. One rank of several gets a file
        of its own: ``run.rank1.ndbg``.
    limit
        Bytes after which the recording is thinned.
    catalogue
        Says which moments of the run matter when it is thinned; None for the shipped one.

    Raises
    ------
    RecordingError
        If the file cannot be created.
    """

    def __init__(
        self,
        capture: Capture,
        save: str | Path | None,
        *,
        limit: int = LIMIT,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._capture = capture
        self._log = RecordingLog()
        self._limit = limit
        self._catalogue = catalogue
        self._writer = _writer(Path(save)) if save is not None else None
        self._many = UNSAVED if save is None else SAVED
        self._steps = 0
        self._taken = time.monotonic()

    def on_rows(self) -> None:
        """Take rows over when enough have gathered; called inside the loop."""
        steps, sampled, occurrences = self._capture.pending
        saved = self._writer is not None
        due = steps >= self._many[0] or sampled >= self._many[1] or (saved and occurrences > 0)
        if due or (saved and time.monotonic() - self._taken > SECONDS):
            self._take()

    def recording(self) -> Recording:
        """Return everything seen so far."""
        self._take()
        return self._log.recording()

    def close(self) -> None:
        """Take over what is left and end the file; safe to call more than once."""
        self._take()
        if self._writer is not None:
            self._guarded(self._writer.close)
            self._writer = None

    def _take(self) -> None:
        part = self._capture.part()
        self._taken = time.monotonic()
        payload = self._log.append(part)
        self._steps += part.steps.size
        if payload is not None and self._writer is not None:
            writer, failed = self._writer, any(_grave(x.kind) for x in part.occurrences)
            self._guarded(lambda: writer.append(payload, sync=failed))
        if self._log.size > self._limit or self._steps > most_steps(part):
            self._thin()

    def _thin(self) -> None:
        """Halve the recording; what the engine takes for the onset of something stays whole."""
        from neuraldbg.pipeline import moments  # noqa: PLC0415 - scipy and networkx load with it

        whole = self._log.recording()
        half = max(most_steps(whole) // 2, 1)
        steps = min(whole.steps.size, half)
        sampled = whole.sampled.size // 2 if self._log.size > self._limit else whole.sampled.size
        kept = moments(whole) if self._catalogue is None else moments(whole, self._catalogue)
        found = thinned(whole, kept, steps=steps, sampled=sampled)
        self._log.replace(found)
        self._steps = found.steps.size
        if self._writer is not None:
            writer = self._writer
            self._guarded(lambda: writer.rewrite(self._log.payloads))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Write; a disk that fails ends the saving and never the training."""
        try:
            work()
        except OSError as error:
            self._writer = None
            warnings.warn(
                f"NeuralDBG stopped saving the recording ({error.strerror or error}); "
                "training and diagnosis go on.",
                CaptureWarning,
                stacklevel=2,
            )


def _grave(kind: str) -> bool:
    return kind.startswith("nonfinite") or kind == "exception"


def _writer(path: Path) -> RecordingWriter:
    """Return a writer to a file of this process's own: ranks must not write into one another's."""
    rank, count = rank_and_count()
    if rank:
        path = path.with_name(f"{path.stem}.rank{rank}{path.suffix}")
    return RecordingWriter(path, about={"rank": rank, "ranks": count})
