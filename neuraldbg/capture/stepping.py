"""The step of an optimizer that is under way, and the closure that it may ask for its gradients."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch import Tensor

from neuraldbg.capture.amp import grad_scale
from neuraldbg.capture.averages import Averages
from neuraldbg.capture.byhand import ByHand
from neuraldbg.capture.gradients import Gradients
from neuraldbg.capture.meter import GradientMeter
from neuraldbg.capture.optim import Entry, OptimizerBook
from neuraldbg.capture.tick import Tick
from neuraldbg.capture.topology import Blueprint

__all__ = ["Stepping", "has_inner_steps", "is_inner_step", "is_step_under_way"]


class Stepping:
    """Measures the gradients that a step uses, wherever they come from: before it, or from its own closure.

    Parameters
    ----------
    book
        Takes samples of weights and moments.
    gradients
        Read where the step begins.
    meter
        Writes their norms; what it returns is whether they are bad.
    blueprint
        Whose weights the loop may write itself, as averages.
    hand
        Kept samples as long as no optimizer was seen.

    Attributes
    ----------
    evaluations
        How often the closure of the step under way has been evaluated; 0 outside of steps.
    entry
        The optimizer whose step is under way, None outside of steps.
    """

    def __init__(
        self,
        book: OptimizerBook,
        gradients: Gradients,
        meter: GradientMeter,
        blueprint: Blueprint,
        hand: ByHand,
    ) -> None:
        self.evaluations = 0
        self.entry: Entry | None = None
        self._book, self._gradients, self._meter = book, gradients, meter
        self._averages, self._hand = Averages(blueprint), hand

    def begins(self, tick: Tick, mine: Entry, scale: Tensor | None) -> bool:
        """An optimizer begins a step; return whether its gradients are bad."""
        self.entry = mine
        bad = self._meter.take(tick, scale)
        if tick.sampled:
            self._hand.release()
            tick.param += tuple(self._gradients.similarities(tick.step))
            tick.param += tuple(self._averages.look(tick.step))
        return bad

    def backward_ended(self, tick: Tick, scale: Tensor | float | None) -> bool:
        """A backward pass ended, outside of a step or in its closure; return whether gradients are bad."""
        closely = tick.sampled and not self.evaluations
        bad = closely and self._meter.take_raw(tick, scale)
        if self.entry is None:
            between = self._meter.rewritten and not closely
            return bad or (between and self._meter.probe_raw(tick, scale))
        self.evaluations += 1
        if self.evaluations == 2:
            # Gradients at other weights than those first measured say nothing of clipping.
            tick.run.pop("grad_norm_raw", None)
        bad = self._meter.take(tick) or bad
        if closely:
            # What was read when the step began were the gradients of the step before, or none.
            tick.param += tuple(self._gradients.similarities(tick.step))
            self._book.before(self.entry)
        return bad

    def ends(self, tick: Tick, optimizer: torch.optim.Optimizer) -> bool:
        """The optimizer has stepped; return whether the gradients that it used are bad."""
        bad = False
        if self.evaluations == 1:
            # The closure may have clipped after its backward pass: what is there now was used.
            bad = self._meter.take(tick, grad_scale(optimizer))
        self.entry, self.evaluations = None, 0
        return bad


def has_inner_steps(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step of an optimizer may be told twice: its class and one that it derives from are hooked."""
    own = [vars(kind)["step"] for kind in type(optimizer).__mro__ if "step" in vars(kind)]
    return sum(hasattr(step, "hooked") for step in own) > 1


def is_step_under_way() -> bool:
    """Return whether an optimizer has called what runs here, as one does that asks for its gradients itself."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the standard way to walk it
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name == "step" else None
        if isinstance(owner, torch.optim.Optimizer):
            return True
        frame = frame.f_back
    return False


def is_inner_step(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the step that is told of was called by another of the same optimizer, that of a derived class.

    The stack says so, whatever happened to steps that did not come to their end.
    """
    if not has_inner_steps(optimizer):
        return False
    code = getattr(type(optimizer).step, "__code__", None)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the standard way to walk it
    count = 0
    while frame is not None and count < 2:
        count += frame.f_code is code and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return count == 2
