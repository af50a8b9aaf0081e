"""What a program has to learn: data in two parts, and how good a model is at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Batch", "Task", "accuracy", "binary_accuracy", "mean_iou", "normalised_error", "split"]

Batch = tuple[tuple[Tensor, ...], Tensor]
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Task:
    """Training and test data with a measure of quality.

    Attributes
    ----------
    kind
        ``classes``, ``binary``, ``regression``, ``tokens``, ``pixels``, ``reconstruction`` or
        ``other``: what the target is, so that a fault knows where it fits.
    train, test
        Inputs (a tuple of tensors) and target, first dimension = samples.
    outputs
        Width of the model's output.
    score
        ``score(output, target)`` on the test data.
    trivial, perfect
        Score of ignoring the inputs, and of knowing everything.
    shape
        Shape of one input sample.
    """

    name: str
    kind: str
    train: Batch
    test: Batch
    outputs: int
    score: Callable[[Any, Tensor], float]
    better: Literal["higher", "lower"] = "higher"
    trivial: float
    perfect: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample of the first input."""
        return tuple(self.train[0][0].shape[1:])

    def skill(self, metric: float) -> float:
        """Return a scale-free quality: 0 is trivial, 1 is perfect, at least -1; not finite is -1."""
        value = (metric - self.trivial) / (self.perfect - self.trivial)
        return max(-1.0, value) if math.isfinite(value) else -1.0


def accuracy(output: Tensor, target: Tensor) -> float:
    """Return the share of right classes; class scores are last, or second where the target is an image."""
    if output.dim() == target.dim() + 1 and output.dim() != 3 and output.dim() > 2:
        output = output.movedim(1, -1)
    right = output.argmax(-1) == target
    return right[target != IGNORED].float().mean().item()


def binary_accuracy(output: Tensor, target: Tensor) -> float:
    """Return the share of right signs of a logit."""
    return ((output.flatten() > 0) == (target.flatten() > 0.5)).float().mean().item()


def normalised_error(output: Tensor, target: Tensor) -> float:
    """Return squared error over the variance of the target: 1 is a constant guess."""
    target = target.float()
    scale = (target - target.mean(0)).square().mean()
    return (F.mse_loss(output.float().reshape(target.shape), target) / scale).item()


def mean_iou(output: Tensor, target: Tensor) -> float:
    """Return intersection over union of everything that is not background (class 0)."""
    found = output.argmax(1)
    both = ((found == target) & (target > 0)).sum().item()
    either = ((found > 0) | (target > 0)).sum().item()
    return both / max(either, 1)


def split(
    inputs: tuple[Tensor, ...], target: Tensor, test: int, seed: int = 7
) -> tuple[Batch, Batch]:
    """Return a fixed random split with ``test`` held-out samples."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(target.shape[0], generator=generator)
    held, kept = order[:test], order[test:]
    return (
        (tuple(x[kept] for x in inputs), target[kept]),
        (tuple(x[held] for x in inputs), target[held]),
    )
