"""Tensors that are only kept while a step lasts, and measured later with those of many others.

To measure one takes calls of PyTorch whose code has left the caches since the step before: to fetch it takes
longer than to run it. In a row the same calls cost a tenth of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from neuraldbg.capture.tick import Tick

__all__ = ["Shelf", "can_be_kept"]

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
        intact = self._intact(tensors, writes)
        if all(intact):
            return ticks, tensors, True
        left = [i for i, holds in enumerate(intact) if holds]
        return [ticks[i] for i in left], [tensors[i] for i in left], False

    def _intact(self, tensors: Sequence[Tensor], writes: Sequence[int]) -> list[bool]:
        """Return which tensors nobody has written to, gave away, or filled anew by way of another tensor."""
        places = [x.data_ptr() if x.layout is torch.strided else 0 for x in tensors]
        now = [x._version for x in tensors]  # noqa: SLF001 - the public way to see a write
        if now == writes and len(set(places)) == len(places) and 0 not in places:
            return [True] * len(places)
        # Views of one tensor count its writes together.
        owners = [id(x if x._base is None else x._base) for x in tensors]  # noqa: SLF001 - the public way to ask
        pairs = [*zip(places, owners, strict=True)]
        shared = Counter(place for place, _ in (set(pairs) if self._again else pairs))
        return [
            version == count and place != 0 and shared[place] == 1
            for version, count, place in zip(now, writes, places, strict=True)
        ]


def can_be_kept(tensor: Tensor) -> bool:
    """Return whether the memory of a tensor is its own: arrays of NumPy and other processes write unseen."""
    if type(tensor) is not Tensor or tensor.requires_grad:
        return False
    # On a device all memory says that it is shared.
    own = tensor.layout is torch.strided and (tensor.is_cuda or not tensor.is_shared())
    return own and tensor.untyped_storage().resizable()
