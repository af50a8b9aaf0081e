"""Gradient scaling: the true loss behind a scaled one, the true gradient, and steps that were skipped."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from neuraldbg.capture.shards import local
from neuraldbg.capture.tick import Tick

__all__ = ["Scaling", "grad_scale"]

# A healthy run skips a few steps while its scale settles; so many in a row are not a search any more.
STUCK = 8


def grad_scale(optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Return the factor that a fused optimizer is about to take out of its gradients, None if there is none."""
    found = getattr(optimizer, "grad_scale", None)
    return found if isinstance(found, Tensor) else None


class Scaling:
    """What is known of the gradient scaler of a run.

    Attributes
    ----------
    scale
        Factor on the loss of the last backward pass, None before a scaler was seen.
    stepped
        Whether an optimizer stepped since the scaler was asked for a step.
    """

    def __init__(self) -> None:
        self.scale: Tensor | float | None = None
        self.stepped = True
        self._loss: tuple[weakref.ref[Tensor], Tensor] | None = None
        self._skipped = 0

    def scaled(self, scaler: GradScaler, loss: Any, result: Any) -> None:
        """A scaler multiplied a loss: keep the true one, and by how much."""
        both = isinstance(loss, Tensor) and isinstance(result, Tensor)
        if not scaler.is_enabled() or not both:
            return
        self._loss = (weakref.ref(result), loss.detach())
        factor = scaler._scale  # noqa: SLF001 - the public way waits for the device
        if factor is not None:
            self.scale = factor.clone() if factor.is_cuda else factor.item()

    def true(self, loss: Tensor) -> Tensor:
        """Return the loss that a scaled one was made of."""
        if self._loss is not None and self._loss[0]() is loss:
            return local(self._loss[1])
        return local(loss)

    def begins(self) -> None:
        """A scaler is asked for a step."""
        self.stepped = False

    def note(self, tick: Tick, optimizer: torch.optim.Optimizer | None) -> None:
        """Note in a tick whether its step did nothing; ``optimizer`` is None where none was let through."""
        if self.scale is None:
            return
        found = getattr(optimizer, "found_inf", None)
        if optimizer is None:
            tick.run["skipped"] = 1.0
        elif isinstance(found, Tensor):
            tick.run["skipped"] = found.clone() if found.is_cuda else float(found.item() > 0)
        else:
            tick.run["skipped"] = 0.0

    def is_stuck(self, tick: Tick) -> bool:
        """Count a step; return whether this is the one at which skipping became a habit."""
        skipped = tick.run.get("skipped", 0.0)
        # Reading a device would stall it.
        self._skipped = self._skipped + 1 if isinstance(skipped, float) and skipped > 0 else 0
        return self._skipped == STUCK
