"""Updates that no optimizer object makes: seen by what became of the weights between two forward passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuraldbg.capture.bank import Rows, flat_view
from neuraldbg.capture.gradients import Gradients
from neuraldbg.capture.meter import GradientMeter
from neuraldbg.capture.params import Updates
from neuraldbg.capture.reduce import are_cleared, once, unless
from neuraldbg.capture.tick import Losses, Tick
from neuraldbg.capture.topology import Blueprint

__all__ = ["ByHand"]

ENTRIES = 64
# After so many backward passes without any update it is believed that none will come.
PATIENCE = 64


class ByHand:
    """Tells the steps of a loop that has no optimizer, until one is seen, and measures what they do.

    Parameters
    ----------
    blueprint
        The watched parameters.
    gradients, meter
        Read and write the gradients that a backward pass left: those that the loop goes on with, unless it clips them.
    """

    def __init__(self, blueprint: Blueprint, gradients: Gradients, meter: GradientMeter) -> None:
        self.seen = self._measured = False
        self.patient = True
        self._blueprint, self._gradients, self._meter = blueprint, gradients, meter
        self._sample: list[tuple[Tensor, Tensor]] = []
        self._updates: Updates | None = None
        self._reached: list[int] = []
        self._steps = 0
        self._cleared: bool | Tensor = False

    def look_at_residue(self, *, closely: bool) -> list[nn.Parameter]:
        """A backward pass begins: see whether gradients of the last update are still there."""
        del closely  # Whoever steps by hand clears by hand, and all alike.
        self._cleared = once(self._cleared, lambda: are_cleared(self._blueprint.tensors))
        return []

    def residue(self) -> Tensor | float | None:
        """A step ended: return 1.0 if its gradients were never cleared since the update before, else 0.0."""
        cleared, self._cleared = self._cleared, False
        self._steps += self.seen
        return unless(cleared) if self._steps > 1 else None

    def steps(self, tick: Tick) -> list[tuple[Losses, int]]:
        """Return losses and backward passes of the steps that a tick holds: without updates every pass is one."""
        if self.seen or tick.backwards < 2:
            return [(tick.losses, tick.backwards)]
        return [(tick.losses[i : i + 1], 1) for i in range(tick.backwards)]

    def mark(self, tick: Tick) -> bool:
        """A backward pass ended: keep samples of the weights that it reached; return whether gradients are bad."""
        tensors = self._blueprint.tensors
        reached = [i for i, p in enumerate(tensors) if p.grad is not None and p.numel()]
        ends = (*reached[:1], *reached[-1:])
        self._sample = [(tensors[i], flat_view(tensors[i], ENTRIES).clone()) for i in ends]
        bad = self._meter.take(tick, are_used=False)
        if tick.sampled:
            if tick.backwards == 1:
                tick.param += tuple(self._gradients.similarities(tick.step))
            self._keep(reached)
        return bad

    def _keep(self, reached: list[int]) -> None:
        """Take samples of all weights that a backward pass reached, and of their gradients."""
        mine = [self._blueprint.tensors[i] for i in reached]
        known = self._updates
        # An ``id`` is used again once its owner is gone; what is measured keeps its parameters alive.
        if known is None or self._reached != [*map(id, mine)]:
            known = self._updates = Updates(reached, mine, self._blueprint.axes(reached))
            self._reached = [*map(id, mine)]
        known.before(None)

    def updates(self) -> list[Rows]:
        """Return what the step did to the weights, once it is known that there was one."""
        rows = self._updates.after() if self.seen and self._updates is not None else []
        self._measured = self._measured or bool(rows)
        return rows

    def unseen(self) -> str:
        """Return what is not seen of updates that the loop makes itself; empty if it made none."""
        if not self.seen:
            return ""
        return "learning rate" if self._measured else "updates and learning rate"

    def ended(self, backwards: int) -> bool:
        """A forward pass begins: return whether the step before it is over.

        Parameters
        ----------
        backwards
            Backward passes of that step so far.
        """
        if not backwards:
            return False
        if any(not torch.equal(flat_view(p, ENTRIES), old) for p, old in self._sample):
            self.seen = True
            return True
        self.patient = self.patient and backwards < PATIENCE
        return not self.patient

    def release(self) -> None:
        """Let go of every tensor."""
        self._sample, self._updates = [], None
