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
from neuraldbg.capture.reduce import stack_together
from neuraldbg.capture.shelf import Shelf
from neuraldbg.capture.tick import Tick

__all__ = ["KeptGradients"]


class KeptGradients:
    """The gradient of the probe at each of the last steps.

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
    left_alone
        Whether nobody was seen to write to one that was kept.
    """

    room, left_alone = False, True

    def __init__(self, gradients: Gradients, incidents: Incidents, watch: LayerWatch) -> None:
        self._gradients, self._incidents, self._watch = gradients, incidents, watch
        self._shelf = Shelf(again=False)
        self._is_small = False

    def watch(self, probe: int, *, far: bool) -> None:
        """Steps begin in which this parameter, on a device or not, is the probe; -1 for none whose gradients may be kept."""
        size = self._gradients.keepable(probe, far=far)
        self._shelf.make_room(size, far=far)
        self._is_small = size > 0
        self.room = self._is_small and self.left_alone

    def put(self, tick: Tick, gradient: Tensor) -> bool:
        """Keep the gradients of a step; return whether there is no room for more.

        Parameters
        ----------
        tick
            The step.
        gradient
            That of the probe.
        """
        self.hold(tick, gradient, gradient._version)  # noqa: SLF001 - the public way to see a write
        return self._shelf.space <= 0

    def hold(self, tick: Tick, gradient: Tensor, written: int) -> None:
        """Keep the gradient of a step before this one, for which there was ``space``."""
        self._shelf.put(tick, gradient, written)

    @property
    def space(self) -> int:
        """For so many steps more there is room."""
        return self._shelf.space if self.room else 0

    def settle(self) -> bool:
        """Measure what was kept; return whether the gradients of a step are bad."""
        if not self._shelf.ticks:
            return False
        ticks, kept, all_are = self._shelf.take()
        self.left_alone = self.left_alone and all_are
        self.room = self.left_alone and self._is_small
        if not kept:
            return False
        with torch.no_grad():
            found = stack_together(norms(kept))
        if found.is_cuda:
            self._leave_there(ticks, found)
            return False
        bad = False
        for tick, norm in zip(ticks, found.tolist(), strict=True):
            if tick.grad is not None:
                # The closure of that step left others.
                continue
            tick.grad = (norm,)
            if not math.isfinite(norm):
                judged = (tick.step, tick.grad_index[0], norm, self._watch.order)
                bad = self._incidents.judge_kept(*judged) or bad
        return bad

    @staticmethod
    def _leave_there(ticks: Sequence[Tick], sizes: Tensor) -> None:
        """Give ticks their norms on a device, to be judged when they are brought to the host."""
        for tick, size in zip(ticks, sizes.split(1), strict=True):
            if tick.grad is None:
                tick.grad = size

    def release(self) -> None:
        """Let go of every tensor."""
        self.room = False
        self._shelf = Shelf(again=False)
