"""Learning-rate schedules that healthy programs use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

__all__ = ["SCHEDULES"]

Schedule = Callable[[torch.optim.Optimizer, int], Any]


def _cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


def _step(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return lr_scheduler.StepLR(optimizer, step_size=max(steps // 3, 1), gamma=0.4)


def _milestones(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    marks = [int(steps * 0.6), int(steps * 0.85)]
    return lr_scheduler.MultiStepLR(optimizer, milestones=marks, gamma=0.2)


def _warm_up(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    span = max(steps // 8, 4)
    return lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / span))


def _warm_cosine(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    span = max(steps // 10, 4)

    def rate(t: int) -> float:
        if t < span:
            return (t + 1) / span
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (t - span) / max(steps - span, 1))))

    return lr_scheduler.LambdaLR(optimizer, rate)


def _one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    top = [group["lr"] for group in optimizer.param_groups]
    return lr_scheduler.OneCycleLR(
        optimizer, max_lr=top, total_steps=steps + 1, cycle_momentum=False
    )


def _exponential(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return lr_scheduler.ExponentialLR(optimizer, gamma=0.2 ** (1 / steps))


def _linear(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)


def _inverse_root(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    span = max(steps // 10, 4)
    return lr_scheduler.LambdaLR(
        optimizer, lambda t: min((t + 1) / span, math.sqrt(span / (t + 1)))
    )


SCHEDULES: dict[str, Schedule] = {
    "cosine": _cosine,
    "step": _step,
    "milestones": _milestones,
    "warm-up": _warm_up,
    "warm-cosine": _warm_cosine,
    "one-cycle": _one_cycle,
    "exponential": _exponential,
    "linear": _linear,
    "inverse-root": _inverse_root,
}
