"""Updates that no optimizer object makes: seen by a sample of the weights between two forward passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuraldbg.capture.bank import flat_view
from neuraldbg.capture.reduce import are_cleared, once, unless
from neuraldbg.capture.tick import Losses, Tick
from neuraldbg.capture.topology import Blueprint

__all__ = ["ByHand"]

ENTRIES = 64
# After so many backward passes without any update it is believed that none will come.
PATIENCE = 64


class ByHand:
    """Tells the steps of a loop that has no optimizer, until one is seen.

    Parameters
    ----------
    blueprint
        The watched parameters.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self.seen = False
        self.patient = True
        self._blueprint = blueprint
        self._sample: list[tuple[Tensor, Tensor]] = []
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

    def mark(self) -> None:
        """A backward pass ended: keep a sample of the weights that it reached."""
        reached = [p for p in self._blueprint.tensors if p.grad is not None and p.numel()]
        self._sample = [(p, flat_view(p, ENTRIES).clone()) for p in (*reached[:1], *reached[-1:])]

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
        self._sample = []
