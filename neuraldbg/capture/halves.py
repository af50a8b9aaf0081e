"""What happens at either end of half precision: gradients too small for it, and numbers beyond it that nobody sees.

A module may compute in float16 without autocast and without weights in it. What passes 65504 there becomes infinite,
and the reciprocal of that is zero: a loss stays finite, and what it is made of is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.reduce import float_tensors, stack_together

__all__ = ["HALF", "Halves"]

HALF = torch.float16
# Masks are infinite on purpose: what puts them in makes numbers of none.
FILLS = frozenset(
    {"masked_fill", "masked_fill_", "full", "full_like", "fill_", "where", "log", "__setitem__"}
    | {"to", "half", "type", "type_as", "index_put_", "scatter", "scatter_"}
)


class Halves:
    """Notes which layers compute in float16, and where finite numbers became infinite in it.

    Attributes
    ----------
    met
        Whether anything of the run was in float16.
    """

    def __init__(self) -> None:
        self.met = False
        self.begin()

    def begin(self) -> None:
        """Forget what the step before left."""
        self._small: set[int] = set()
        self._beyond: dict[int, Tensor] = {}

    def note(self, layer: int, gradient: Tensor) -> None:
        """Take the gradient of a layer's output."""
        if gradient.dtype is HALF:
            self.met = True
            self._small.add(layer)

    def see(self, layer: int, name: str, args: Sequence[Any], out: Tensor) -> None:
        """Take a function of the user's own, or of a layer, whose result is in float16.

        Parameters
        ----------
        layer
            Where it was called, -1 outside any.
        name, args, out
            The function, what it was given, and its result.
        """
        self.met = True
        if layer < 0 or name in FILLS or not out.numel():
            return
        beyond = torch.isinf(out.detach()).any()
        for tensor in float_tensors(args, 2):
            if tensor.is_floating_point() and tensor.numel():
                beyond &= torch.isfinite(tensor.detach()).all()
        before = self._beyond.get(layer)
        self._beyond[layer] = beyond if before is None else before | beyond

    def finish(self) -> list[Rows]:
        """Return 1 for layers whose gradients come in float16, and whether numbers of theirs went beyond it."""
        rows = []
        if self._small:
            rows.append(Rows([*self._small], ("grad_is_half",), torch.ones(1, len(self._small))))
        if self._beyond:
            flags = stack_together([flag.float() for flag in self._beyond.values()])
            rows.append(Rows([*self._beyond], ("half_overflow",), flags[None]))
        return rows
