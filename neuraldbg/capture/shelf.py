"""Tensors that are only kept while a step lasts, and measured later with those of many others.

To measure one takes calls of PyTorch whose code has left the caches since the step before: to fetch it takes
longer than to run it. In a row the same calls cost a tenth of that.
"""

from __future__ import annotations

from torch import Tensor

from neuraldbg.capture.intact import are_intact
from neuraldbg.capture.tick import Tick

__all__ = ["Shelf"]

# Entries that are kept at a time, and steps: more memory than that would be new to the caches in every step.
ENTRIES, STEPS = 2**18, 128
# On a device nothing has to be fetched from memory for it, and an operation takes longer: so many times more.
FAR = 8


class Shelf:
    """One tensor of each of the last steps, for as long as nobody writes to it.

    Parameters
    ----------
    again
        Whether the same memory may come again, as in a loop over one batch. What is new in every step does not,
        unless others have filled it anew.

    Attributes
    ----------
    ticks, tensors
        The steps, and what was kept of them.
    writes
        How often each had been written to by then.
    most
        So many may be kept.
    """

    def __init__(self, *, again: bool) -> None:
        self._again = again
        self.ticks: list[Tick] = []
        self.tensors: list[Tensor] = []
        self.writes: list[int] = []
        self.most = 0

    def make_room(self, entries: int, *, far: bool) -> None:
        """Say how many entries a tensor has at most, and whether they lie on a device."""
        self.most = min(STEPS, ENTRIES * (FAR if far else 1) // max(1, entries))

    def put(self, tick: Tick, tensor: Tensor, written: int) -> None:
        """Keep a tensor that had been written to so often."""
        self.ticks.append(tick)
        self.tensors.append(tensor)
        self.writes.append(written)

    @property
    def space(self) -> int:
        """So many more may be kept."""
        return self.most - len(self.ticks)

    def take(self) -> tuple[list[Tick], list[Tensor], bool]:
        """Return the tensors that are as they were, with their steps, and whether all are; keep none."""
        ticks, tensors, writes = self.ticks, self.tensors, self.writes
        self.ticks, self.tensors, self.writes = [], [], []
        intact = are_intact(tensors, writes, again=self._again)
        if all(intact):
            return ticks, tensors, True
        left = [i for i, holds in enumerate(intact) if holds]
        return [ticks[i] for i in left], [tensors[i] for i in left], False
