"""Weights that the loop writes itself, which no gradient reaches: in half precision what it writes may be rounded away.

An average of a trained network, as contrast, self-distillation and mean teachers need, is no optimizer's; where it is
held in half precision a small share of the new weights is less than half a unit in the last place of the old ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from neuraldbg.capture.bank import Rows, flat_view
from neuraldbg.capture.params import NARROW
from neuraldbg.capture.reduce import stack_together
from neuraldbg.capture.shards import is_sharded
from neuraldbg.capture.topology import Blueprint

__all__ = ["Averages"]


class _Look(NamedTuple):
    """How often a weight had been written at a step, and a copy of some entries where the next look compares them."""

    step: int
    version: int
    entries: Tensor | None


class Averages:
    """Compares weights that no gradient reaches from one sampled step to the next.

    Parameters
    ----------
    blueprint
        The watched parameters.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._looks: dict[int, _Look] = {}

    @torch.no_grad()
    def look(self, step: int) -> list[Rows]:
        """Return which weights without a gradient were written since the last look.

        And of those in half precision that were written in every step, the share that is as it was.

        Parameters
        ----------
        step
            The sampled step that is under way.
        """
        kept: dict[int, Tensor] = {}
        written: dict[int, Tensor] = {}
        for index, weight in enumerate(self._blueprint.tensors):
            narrow = _is_judged(weight)
            if not (narrow or _is_left_out(weight)):
                continue
            last, now = self._looks.get(index), weight._version  # noqa: SLF001 - PyTorch has no public name for it
            if last is not None and last.step == step:
                continue
            often = narrow and last is not None and step - last.step <= now - last.version
            entries = flat_view(weight).clone() if often or not narrow else None
            self._looks[index] = _Look(step, now, entries)
            if last is None or (share := _kept(last.entries, entries)) is None:
                continue
            if narrow:
                kept[index] = share
            elif now > last.version:
                # An optimizer may write what is without a gradient, too, and change nothing.
                written[index] = (share < 1.0).float()
        return [
            Rows(list(found), (name,), stack_together([*found.values()])[None])
            for name, found in (("average_kept", kept), ("written", written))
            if found
        ]


def _is_judged(weight: Tensor) -> bool:
    narrow = weight.dtype in NARROW and weight.dim() >= 2 and not weight.requires_grad
    return narrow and _is_plain(weight)


def _is_left_out(weight: Tensor) -> bool:
    """Return whether a weight should be learned and has no gradient."""
    return weight.requires_grad and weight.grad is None and _is_plain(weight)


def _is_plain(weight: Tensor) -> bool:
    if is_lazy(weight) or is_sharded(weight) or weight.is_inference():
        return False
    return weight.layout is torch.strided and weight.numel() > 0


def _kept(before: Tensor | None, now: Tensor | None) -> Tensor | None:
    """Return the share of entries that are as they were, None where there is nothing to compare."""
    if before is None or now is None or (before.shape, before.device) != (now.shape, now.device):
        return None
    return (before == now).float().mean()
