"""Integers and flags made from what a layer gave: they choose what others do, and no gradient comes back by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import ref

from torch import Tensor

__all__ = ["Choices"]

Layers = frozenset[int]
NONE: Layers = frozenset()


class Choices:
    """Follows what was decided from the output of layers: an index, a comparison, a mask made of one."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[ref[Tensor], Layers]] = {}

    def clear(self) -> None:
        """Forget every tensor of the step."""
        self._made.clear()

    def take(
        self, args: Sequence[Any], kw: Mapping[str, Any], out: object, layers: Layers
    ) -> Layers:
        """Take a call; return the layers that chose in it, if what it gave has a gradient from elsewhere.

        Parameters
        ----------
        args, kw, out
            What the function was given, and what it gave.
        layers
            Those that its other arguments came from.
        """
        if not (layers or self._made):
            return NONE
        chose = self._of((*args, *kw.values())) if self._made else NONE
        found = [*_tensors(out)]
        for tensor in found:
            # What is made of numbers that came from layers is a choice once it is none of real numbers.
            by = chose if tensor.is_floating_point() else chose | layers
            if by and not tensor.requires_grad:
                self._made[id(tensor)] = (ref(tensor), by)
        return chose if any(tensor.requires_grad for tensor in found) else NONE

    def _of(self, values: Sequence[Any]) -> Layers:
        found = NONE
        for tensor in _tensors(values, depth=2):
            known = self._made.get(id(tensor))
            if known is not None and known[0]() is tensor:
                found |= known[1]
        return found


def _tensors(value: object, depth: int = 1) -> Iterator[Tensor]:
    """Yield a tensor, or those in a list or tuple."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item, depth - 1)
