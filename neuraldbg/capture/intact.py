"""Whether tensors that were kept are as they were: nobody wrote to them, and their memory is still theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["are_intact", "can_be_kept"]


def are_intact(tensors: Sequence[Tensor], writes: Sequence[int], *, again: bool) -> list[bool]:
    """Return which tensors nobody has written to, gave away, or filled anew by way of another tensor.

    Parameters
    ----------
    tensors, writes
        What was kept, and how often each had been written to by then.
    again
        Whether the same memory may come again, as in a loop over one batch.
    """
    places = [x.data_ptr() if x.layout is torch.strided else 0 for x in tensors]
    now = [x._version for x in tensors]  # noqa: SLF001 - the public way to see a write
    if now == [*writes] and len(set(places)) == len(places) and 0 not in places:
        return [True] * len(places)
    # Views of one tensor count its writes together.
    owners = [id(x if x._base is None else x._base) for x in tensors]  # noqa: SLF001 - the public way to ask
    pairs = [*zip(places, owners, strict=True)]
    shared = Counter(place for place, _ in (set(pairs) if again else pairs))
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
