"""Small real training loops for tests that need torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


def mlp(*, width: int = 16, depth: int = 2, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return a small classifier of eight features into four classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(8 if i == 0 else width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def clusters(step: int, size: int = 32) -> Batch:
    """Return a batch that any small classifier learns: four noisy corners."""
    random = torch.Generator().manual_seed(step)
    y = torch.randint(0, 4, (size,), generator=random)
    corners = torch.eye(8)[:4] * 3.0
    return corners[y] + 0.5 * torch.randn(size, 8, generator=random), y


def train(
    model: nn.Module,
    *,
    steps: int = 40,
    optimizer: torch.optim.Optimizer | None = None,
    batch: Callable[[int], Batch] = clusters,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    **optimizer_options: Any,
) -> float:
    """Train and return the last loss."""
    options = {"lr": 0.1} | optimizer_options
    optimizer = optimizer or torch.optim.SGD(model.parameters(), **options)
    value = torch.zeros(())
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
    return float(value.detach())
