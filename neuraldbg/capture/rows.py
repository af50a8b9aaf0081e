"""Ticks that wait to be written, the tables that they go to, and the handing over of what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.notes import Notes
from neuraldbg.capture.tick import Tables, Tick
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import LossCall, Occurrence, Recording

__all__ = ["Rows"]

# Ticks are written many at a time: in a row the same code runs several times faster. More of them are awaited
# while that takes no longer than this, in seconds: what waits is lost with a process that is killed.
WRITTEN_TOGETHER, MOST_TOGETHER, PATIENCE = 32, 128, 0.5
# Steps whose numbers wait on a device, at most, where none of them is sampled.
FETCHED_TOGETHER = 256


class Rows:
    """The numbers of a run since they were last handed over.

    Parameters
    ----------
    notes, incidents
        What happened once; handed over with the rows.

    Attributes
    ----------
    waiting
        Closed ticks; they are written by and by.
    written
        Called whenever new rows were written, inside the user's loop.
    """

    together = WRITTEN_TOGETHER

    def __init__(self, notes: Notes, incidents: Incidents) -> None:
        self.written: Callable[[], None] | None = None
        self._notes, self._incidents = notes, incidents
        self.waiting: list[Tick] = []
        self._tables = Tables()
        self._told = (0, 0)
        self._flushed = monotonic()

    def wait_longer(self) -> None:
        """Numbers live on a device: all that wait are fetched at once, and fetching waits for the device."""
        self.together = FETCHED_TOGETHER

    @property
    def many(self) -> bool:
        """Whether it pays to write what waits."""
        return len(self.waiting) >= self.together

    def _pace(self) -> None:
        """Await as many ticks as the loop, at the pace of those that wait, takes no longer than is borne for."""
        before, self._flushed = self._flushed, monotonic()
        if self.waiting and self.together <= MOST_TOGETHER:
            fitting = int(PATIENCE * len(self.waiting) / max(self._flushed - before, 1e-9))
            self.together = min(MOST_TOGETHER, max(WRITTEN_TOGETHER, fitting))

    def flush(self) -> None:
        """Write everything that waits."""
        fresh = bool(self.waiting)
        self._pace()
        for tick in self.waiting:
            self._tables.write(tick)
        self.waiting.clear()
        if fresh and self.written is not None:
            self.written()

    @property
    def incidents(self) -> int:
        """How many occurrences were noted so far."""
        return len(self._incidents.occurrences)

    def losses(self) -> tuple[LossCall, ...]:
        """Return the losses seen so far."""
        return tuple(self._notes.losses)

    def occurrences(self) -> tuple[Occurrence, ...]:
        """Return what happened so far, in order of time."""
        return tuple(sorted(self._incidents.occurrences, key=lambda x: x.step))

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
        self._tables = Tables()
        return replace(
            found,
            losses=tuple(self._notes.losses[losses:]),
            occurrences=tuple(self._incidents.occurrences[occurrences:]),
        )
