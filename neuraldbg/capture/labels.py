"""Which layers a tensor of one step came from."""

from __future__ import annotations

import weakref
from typing import NamedTuple

from torch import Tensor

__all__ = ["NO_LABELS", "Label", "Origin"]

NO_LABELS: frozenset[int] = frozenset()


class Origin(NamedTuple):
    """Where a tensor came from.

    Attributes
    ----------
    layers
        Layers, without another layer between.
    direct
        Whether it is the output of the only one of them.
    maker
        The operation that made it, where its own graph does not tell.
    """

    layers: frozenset[int] = NO_LABELS
    direct: bool = False
    maker: str = ""


class Label:
    """Which layers a tensor came from, without another layer between."""

    __slots__ = ("direct", "layers", "logits", "maker", "ref")

    def __init__(
        self, tensor: Tensor, layers: frozenset[int], *, direct: bool, logits: bool
    ) -> None:
        self.ref = weakref.ref(tensor)
        self.layers = layers
        self.direct = direct
        self.logits = logits
        self.maker = ""
