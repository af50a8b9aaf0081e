"""Gradients that are kept for some steps and measured together, where that is cheaper than one at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neuraldbg.capture.gradients import Gradients
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.params import norms
from neuraldbg.capture.shelf import Shelf
from neuraldbg.capture.tick import Tick

__all__ = ["KeptGradients"]


class KeptGradients:
    """The gradient of the probe at each of the last steps, and of one parameter of every layer.

    Clearing gradients leaves them without an owner: nobody writes to them any more. A loop where somebody does,
    or fills the same memory again, is found out, and its gradients are measured at once from then on.

    Parameters
    ----------
    gradients
        Knows which ones are looked at.
    incidents
        Told of those that are not finite.
    watch
        Knows the order of the layers.

    Attributes
    ----------
    room
        Whether those of another step may be kept.
    """

    room = False

    def __init__(self, gradients: Gradients, incidents: Incidents, watch: LayerWatch) -> None:
        self._gradients, self._incidents, self._watch = gradients, incidents, watch
        self._shelf = Shelf(again=False)
        self._others: dict[int, list[Tensor | None]] = {}
        self._lookout: list[int] = []
        self._around: list[Tensor] = []
        self._left_alone = True

    def watch(self, probe: int) -> None:
        """Steps begin in which this parameter is the probe, -1 for none whose gradients may be kept."""
        self._lookout = self._gradients.lookout(probe) if probe >= 0 and self._left_alone else []
        self._around = self._gradients.tensors(self._lookout[1:])
        self._shelf.make_room(sum(x.numel() for x in self._gradients.tensors(self._lookout)))
        self.room = bool(self._lookout)

    def put(self, tick: Tick, gradient: Tensor) -> bool:
        """Keep the gradients of a step; return whether there is no room for more.

        Parameters
        ----------
        tick
            The step.
        gradient
            That of the probe.
        """
        shelf = self._shelf
        shelf.ticks.append(tick)
        shelf.tensors.append(gradient)
        shelf.writes.append(gradient._version)  # noqa: SLF001 - the public way to see a write
        self._others[tick.step] = [parameter.grad for parameter in self._around]
        return len(shelf.ticks) >= shelf.most

    def settle(self) -> bool:
        """Measure what was kept; return whether the gradients of a step are bad."""
        if not self._shelf.ticks:
            return False
        others, self._others = self._others, {}
        ticks, kept, all_are = self._shelf.take()
        self._left_alone = self._left_alone and all_are
        self.room = self._left_alone and bool(self._lookout)
        bad = False
        with torch.no_grad():
            sizes = [norm.item() for norm in norms(kept)]
        for tick, gradient, norm in zip(ticks, kept, sizes, strict=True):
            if tick.grad is not None:
                # The closure of that step left others.
                continue
            tick.grad = (norm,)
            if not math.isfinite(norm):
                bad = self._judge(tick, [gradient, *others[tick.step]]) or bad
        return bad

    def _judge(self, tick: Tick, found: Sequence[Tensor | None]) -> bool:
        held = {i: g for i, g in zip(self._lookout, found, strict=True) if g is not None}
        tick.grad_index = tuple(held)
        tick.grad = [norm.item() for norm in norms([g.detach() for g in held.values()])]
        sizes = dict(zip(held, tick.grad, strict=True))
        return self._incidents.judge_gradients(tick.step, sizes, self._watch.order)

    def release(self) -> None:
        """Let go of every tensor."""
        self.room = False
        self._others, self._around = {}, []
        self._shelf = Shelf(again=False)
