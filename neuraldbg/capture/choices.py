"""Integers and flags made from what a layer gave: they choose what others do, and no gradient comes back by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuraldbg.capture.labels import NO_LABELS, Known
from neuraldbg.capture.reduce import float_tensors

__all__ = ["Choices"]

Layers = frozenset[int]


class Choices:
    """Follows what was decided from the output of layers: an index, a comparison, a mask made of one."""

    def __init__(self) -> None:
        self._made = Known[Layers]()

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
        if not (layers or self._made.found):
            return NO_LABELS
        chose = self._of((*args, *kw.values())) if self._made.found else NO_LABELS
        found = [*float_tensors(out, 1)]
        for tensor in found:
            # What is made of numbers that came from layers is a choice once it is none of real numbers.
            by = chose if tensor.is_floating_point() else chose | layers
            if by and not tensor.requires_grad:
                self._made.put(tensor, by)
        return chose if any(tensor.requires_grad for tensor in found) else NO_LABELS

    def _of(self, values: Sequence[Any]) -> Layers:
        return NO_LABELS.union(*(self._made.of(t) or NO_LABELS for t in float_tensors(values)))
