"""A recording while it grows: its parts as they go into a file, so that memory and file say the same."""

from __future__ import annotations

from typing import Any

from neuraldbg.recording.parts import STATE, Joiner, encode_part, split
from neuraldbg.records.recording import Recording

__all__ = ["RecordingLog"]


class RecordingLog:
    """Parts of one run, each a few bytes per measured number.

    Attributes
    ----------
    payloads
        The parts in the order of time.
    size
        Bytes of all of them.
    """

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.size = 0
        self._told: dict[str, Any] = {}

    def append(self, part: Recording) -> bytes | None:
        """Append a part and return its payload; None if it says nothing new."""
        changed = [name for name in STATE if self._told.get(name) != getattr(part, name)]
        if not (changed or part.steps.size or part.losses or part.occurrences):
            return None
        self._told |= {name: getattr(part, name) for name in changed}
        payload = encode_part(part, state=changed)
        self.payloads.append(payload)
        self.size += len(payload)
        return payload

    def replace(self, recording: Recording) -> None:
        """Put a whole recording in the place of all parts."""
        self.payloads, self.size, self._told = [], 0, {}
        for part in split(recording):
            self.append(part)

    def recording(self) -> Recording:
        """Return the recording that the parts make up."""
        joiner = Joiner()
        for payload in self.payloads:
            joiner.take(payload)
        return joiner.recording()
