"""Small generated data shared by several programs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neuraldbg.demos.data import digits

__all__ = ["accuracy", "digit_rows", "moons", "squared", "waves"]


def digit_rows(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return digits as ``(rows, 64)`` and labels."""
    x, y = digits()
    index = torch.randint(0, len(y), (rows,), generator=generator)
    return x[index], y[index]


def moons(generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Return two interleaved half circles, ``(rows, 2)``, and which one."""
    side = torch.randint(0, 2, (rows,), generator=generator)
    angle = math.pi * torch.rand(rows, generator=generator)
    x = torch.where(side == 0, angle.cos(), 1 - angle.cos())
    y = torch.where(side == 0, angle.sin(), 0.5 - angle.sin())
    noise = 0.08 * torch.randn(rows, 2, generator=generator)
    return torch.stack([x - 0.5, y - 0.25], 1) + noise, side


def waves(generator: torch.Generator, rows: int, length: int) -> Tensor:
    """Return sums of two sines with random phases, ``(rows, length)``, roughly within [-1, 1]."""
    t = torch.arange(length, dtype=torch.float32)
    phase = 6.28 * torch.rand(rows, 2, 1, generator=generator)
    pace = 0.2 + 0.6 * torch.rand(rows, 2, 1, generator=generator)
    return torch.sin(pace * t + phase).mean(1)


def accuracy(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    """Return the share of rows whose largest output is the label, the last tensor of the batch."""
    with torch.no_grad():
        return (model(*batch[:-1]).argmax(-1) == batch[-1]).float().mean().item()


def squared(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    """Return the mean squared error against the last tensor of the batch."""
    with torch.no_grad():
        return (model(*batch[:-1]) - batch[-1]).pow(2).mean().item()
