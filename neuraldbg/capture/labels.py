"""What is known of the tensors of one step: which layers they came from, and the like."""

from __future__ import annotations

import weakref
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

__all__ = ["NO_LABELS", "Known", "Label", "Origin"]

T = TypeVar("T")

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


class Known(Generic[T]):
    """Something about every tensor that it was said of, as long as that lives.

    Attributes
    ----------
    found
        By ``id()``, which is used again once its owner is gone, the tensor and what was said of it.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[weakref.ref[Tensor], T]] = {}

    def put(self, tensor: Tensor, value: T) -> None:
        """Say something of a tensor."""
        self.found[id(tensor)] = (weakref.ref(tensor), value)

    def of(self, tensor: Tensor) -> T | None:
        """Return what was said of a tensor, None if nothing was."""
        known = self.found.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def clear(self) -> None:
        """Forget every tensor."""
        self.found.clear()


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
