"""Ticks that wait to be written, the tables that they go to, and the handing over of what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.notes import Notes
from neuraldbg.capture.tick import Tables, Tick
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import Recording

__all__ = ["Rows"]

# Ticks are written many at a time: in a row the same code runs several times faster.
WRITTEN_TOGETHER = 32


class Rows:
    """The numbers of a run since they were last handed over.

    Parameters
    ----------
    notes, incidents
        What happened once; handed over with the rows.
    far
        Whether numbers may live on a device.

    Attributes
    ----------
    written
        Called whenever new rows were written, inside the user's loop.
    """

    def __init__(self, notes: Notes, incidents: Incidents, *, far: bool) -> None:
        self.written: Callable[[], None] | None = None
        self._notes, self._incidents, self._far = notes, incidents, far
        self._waiting: list[Tick] = []
        self._tables = Tables(far=far)
        self._told = (0, 0)

    def add(self, tick: Tick) -> None:
        """Take a closed tick; it is written by and by."""
        self._waiting.append(tick)

    @property
    def many(self) -> bool:
        """Whether it pays to write what waits; on a device that would wait for it."""
        return not self._far and len(self._waiting) >= WRITTEN_TOGETHER

    def flush(self) -> None:
        """Write everything that waits."""
        fresh = bool(self._waiting)
        for tick in self._waiting:
            self._tables.write(tick)
        self._waiting.clear()
        if fresh and self.written is not None:
            self.written()

    @property
    def incidents(self) -> int:
        """How many occurrences were noted so far."""
        return len(self._incidents.occurrences)

    @property
    def pending(self) -> tuple[int, int, int]:
        """Steps, sampled steps and occurrences since the last part."""
        fresh = len(self._incidents.occurrences) - self._told[1]
        return len(self._tables.step), len(self._tables.layer), fresh

    def columns(self, blueprint: Blueprint) -> dict[str, Any]:
        """Return the fields of a recording that are rows and columns."""
        tables, params = self._tables, len(blueprint.params)
        return {
            "steps": tables.step.steps(),
            "step": tables.step.columns(),
            "group": tables.group.columns(),
            "grad": tables.grad.columns(params),
            "sampled": tables.layer.steps(),
            "layer": tables.layer.columns(len(blueprint.layers)),
            "param": tables.param.columns(params),
        }

    def part(self, found: Recording) -> Recording:
        """Return what of a recording is new since the last part, and forget its numbers."""
        losses, occurrences = self._told
        self._told = len(self._notes.losses), len(self._incidents.occurrences)
        self._tables = Tables(far=self._far)
        return replace(
            found,
            losses=tuple(self._notes.losses[losses:]),
            occurrences=tuple(self._incidents.occurrences[occurrences:]),
        )
