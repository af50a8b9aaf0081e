"""What every re-expressed program needs and no program is about: small data, and how a run ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from neuraldbg.demos.case import Outcome
from neuraldbg.demos.data import characters, digits

__all__ = ["accuracy", "batches", "ended", "images", "split_digits", "text_windows"]

TAIL = 10


def ended(metric: float, better: str, losses: Sequence[float]) -> Outcome:
    """Return the outcome of a run: its quality, and the mean of the last losses."""
    tail = list(losses[-TAIL:])
    direction = "higher" if better == "higher" else "lower"
    return {"metric": float(metric), "better": direction, "loss": sum(tail) / max(len(tail), 1)}


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Return the share of rows whose largest logit is the target."""
    return (logits.float().argmax(-1) == target).float().mean().item()


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield ``steps`` index tensors, reshuffling at each pass over ``count`` rows."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    at = 0
    for _ in range(steps):
        if at + size > count:
            order, at = torch.randperm(count, generator=generator), 0
        yield order[at : at + size]
        at += size


@lru_cache(maxsize=1)
def split_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised digits: 1,437 rows to train on, 360 to judge, as ``(x, y, held x, held y)``."""
    x, y = digits()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(11))
    x, y = x[order], y[order]
    return x[:1437], y[:1437], x[1437:], y[1437:]


def images() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the digits as images of one channel, ``(n, 1, 8, 8)``, standardised."""
    x, y, held, target = split_digits()
    return x.view(-1, 1, 8, 8), y, held.view(-1, 1, 8, 8), target


def text_windows(length: int, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ids and next ids, each ``(size, length)``, drawn at random from a text of 64 characters."""
    text = characters()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(0, text.numel() - length - 1, (size,), generator=generator)
        rows = text[starts[:, None] + torch.arange(length + 1)]
        yield rows[:, :-1], rows[:, 1:]
