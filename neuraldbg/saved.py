"""A saved run: the same questions as to a live one, without torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

from neuraldbg.answers import Answers
from neuraldbg.catalogue import DEFAULT
from neuraldbg.recording import UNFINISHED, head_of, read_recording
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.recording import Fact, Recording

__all__ = ["SavedRun", "load"]


class SavedRun(Answers):
    """A recording from a file, to be asked like the ``NeuralDbg`` that wrote it.

    Parameters
    ----------
    path
        A file that ``NeuralDbg(model, save=…)`` or ``write_recording`` wrote, or is writing.
    catalogue
        Detectors and mechanisms; a newer engine may conclude more from an old recording.
    priors
        Replaces the prior probability of some mechanisms.

    Raises
    ------
    RecordingError
        If the file cannot be read as a recording.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        catalogue: Catalogue = DEFAULT,
        priors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(catalogue=catalogue, priors=priors)
        self.path = Path(path)
        self.about: Mapping[str, Fact] = head_of(path)
        self._recording = read_recording(path)

    @property
    def recording(self) -> Recording:
        """What was read of the file."""
        return self._recording

    @property
    def ended(self) -> bool:
        """Whether the recording has an end: the loop returned or raised, and was not killed."""
        return UNFINISHED not in self._recording.unobserved

    def _state_of_run(self) -> Hashable:
        return "saved"

    def __repr__(self) -> str:
        return f"SavedRun({str(self.path)!r}, {self._recording.steps.size} steps)"


def load(
    path: str | Path,
    *,
    catalogue: Catalogue = DEFAULT,
    priors: Mapping[str, float] | None = None,
) -> SavedRun:
    """Return a saved run that answers the same questions as the live one; torch is not needed.

    Parameters
    ----------
    path
        A recording; one that is still being written gives what is whole of it so far.
    catalogue, priors
        As for ``NeuralDbg``.

    Raises
    ------
    RecordingError
        If the file cannot be read as a recording.
    """
    return SavedRun(path, catalogue=catalogue, priors=priors)
