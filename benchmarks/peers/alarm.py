"""What every tool's output is turned into before it is scored."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

__all__ = ["Alarm", "Peer", "gradient_norm", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that a tool complained about.

    Attributes
    ----------
    kind
        The tool's own name of it, without layer and numbers.
    layer
        Dotted module or parameter name, when the tool gives one.
    step
        Optimizer step, counted from 0, when the tool gives one.
    """

    kind: str
    layer: str | None = None
    step: int | None = None


class Peer(Protocol):
    """A tool under test: an observer, and its alarms in its own order of severity once the loop is over."""

    def __call__(self, model: Any, optimizer: Any) -> AbstractContextManager[Any]:
        """Watch a training loop."""

    def alarms(self) -> list[Alarm]:
        """Return what was found, worst first."""


def gradient_norm(optimizer: torch.optim.Optimizer) -> float:
    """Return the norm of all gradients that the optimizer is about to use."""
    squares = [
        p.grad.detach().float().pow(2).sum()
        for group in optimizer.param_groups
        for p in group["params"]
        if p.grad is not None
    ]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of the first group."""
    return float(optimizer.param_groups[0]["lr"])
