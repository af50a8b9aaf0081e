"""Sequences: what was said long ago, strings to turn round, series to continue, frequencies to tell."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.corpus.task import Task, accuracy, normalised_error, split
from benchmarks.corpus.tasks.tables import class_table

__all__ = ["forecast", "sequence_classes", "strings"]


@lru_cache(maxsize=16)
def sequence_classes(name: str, length: int = 12) -> Task:
    """Return float sequences ``(n, length, features)`` with a class.

    ``rows`` are digits read row by row; ``recall`` asks for the first symbol; ``order`` for the order
    of two events; ``pitch`` for a frequency.
    """
    if name == "rows":
        flat = class_table("digits")
        (x,), y = flat.train
        (xt,), yt = flat.test
        train, held = ((x.view(-1, 8, 8),), y), ((xt.view(-1, 8, 8),), yt)
    else:
        worlds = {"recall": _recall, "order": _order, "pitch": _pitch}
        x, y = worlds[name](length)
        train, held = split((x,), y, 300)
    return Task(
        name=f"{name}{length}",
        kind="classes",
        train=train,
        test=held,
        outputs=int(train[1].max()) + 1,
        score=accuracy,
        trivial=held[1].bincount().max().item() / held[1].numel(),
    )


@lru_cache(maxsize=4)
def strings(length: int = 8, symbols: int = 10) -> Task:
    """Return strings and the same strings reversed: inputs ``(source, shifted target)``, target ``(n, length)``."""
    g = torch.Generator().manual_seed(21)
    source = torch.randint(1, symbols, (1600, length), generator=g)
    target = source.flip(1)
    begin = torch.cat([torch.zeros(1600, 1, dtype=torch.long), target[:, :-1]], 1)
    train, held = split((source, begin), target, 200)
    return Task(
        name=f"reverse{length}",
        kind="tokens",
        train=train,
        test=held,
        outputs=symbols,
        score=accuracy,
        trivial=1.0 / (symbols - 1),
    )


@lru_cache(maxsize=4)
def forecast(name: str = "seasons", length: int = 32, ahead: int = 4) -> Task:
    """Return windows ``(n, 1, length)`` of a series and the ``ahead`` values that follow."""
    series = _seasons() if name == "seasons" else _oscillator()
    windows = series.unfold(0, length + ahead, 1)
    train, held = split((windows[:, None, :length],), windows[:, length:], 300)
    return Task(
        name=name,
        kind="regression",
        train=train,
        test=held,
        outputs=ahead,
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )


def _recall(length: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(22)
    n, symbols = 1600, 4
    y = torch.randint(0, symbols, (n,), generator=g)
    x = 0.3 * torch.randn(n, length, symbols + 1, generator=g)
    x[torch.arange(n), 0, y] += 2.0
    x[:, -1, symbols] += 2.0
    return x, y


def _order(length: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(23)
    n = 1600
    x = 0.3 * torch.randn(n, length, 4, generator=g)
    kinds = torch.randint(0, 2, (n, 2), generator=g)
    first = torch.randint(0, length // 3, (n,), generator=g)
    second = torch.randint(length // 2, length - 1, (n,), generator=g)
    rows = torch.arange(n)
    x[rows, first, kinds[:, 0]] += 2.0
    x[rows, second, kinds[:, 1]] += 2.0
    return x, kinds[:, 0] * 2 + kinds[:, 1]


def _pitch(length: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(24)
    n = 1600
    y = torch.randint(0, 5, (n,), generator=g)
    time = torch.arange(length, dtype=torch.float32)
    phase = 6.28 * torch.rand(n, 1, generator=g)
    pace = 0.4 + 0.35 * y[:, None] + 0.05 * torch.randn(n, 1, generator=g)
    x = torch.sin(pace * time + phase) + 0.3 * torch.randn(n, length, generator=g)
    return torch.stack([x, x.roll(1, 1)], 2), y


def _seasons() -> Tensor:
    g = torch.Generator().manual_seed(25)
    time = torch.arange(1800, dtype=torch.float32)
    x = torch.sin(time * 0.26) + 0.6 * torch.sin(time * 0.91 + 0.5 * torch.sin(time * 0.03))
    x = x + 0.15 * torch.randn(1800, generator=g)
    return (x - x.mean()) / x.std()


def _oscillator() -> Tensor:
    """A driven pendulum, sampled with a little noise."""
    g = torch.Generator().manual_seed(26)
    angle, speed, out = 0.5, 0.0, []
    for t in range(1800 * 4):
        speed += 0.05 * (-2.0 * float(torch.sin(torch.tensor(angle))) - 0.05 * speed)
        speed += 0.05 * 0.8 * float(torch.cos(torch.tensor(0.03 * t)))
        angle += 0.05 * speed
        if t % 4 == 0:
            out.append(angle)
    x = torch.tensor(out)
    x = torch.sin(x) + 0.05 * torch.randn(1800, generator=g)
    return (x - x.mean()) / x.std()
