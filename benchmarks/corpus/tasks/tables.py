"""Tables: measured ones that ship with scikit-learn, and worlds with a known teacher."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.corpus.task import Task, accuracy, binary_accuracy, normalised_error, split

__all__ = ["binary_table", "class_table", "number_table"]


@lru_cache(maxsize=32)
def class_table(name: str) -> Task:
    """Return a classification of rows: ``digits``, ``wine``, ``iris``, ``teacher``, ``spirals``, ``blobs``, ``noisy``."""
    worlds = {"teacher": _teacher, "spirals": _spirals, "blobs": _blobs, "noisy": _noisy}
    x, y = worlds[name]() if name in worlds else _measured(name)
    test = max(y.numel() // 5, 50)
    train, held = split((x,), y, min(test, 400))
    return Task(
        name=name,
        kind="classes",
        train=train,
        test=held,
        outputs=int(y.max()) + 1,
        score=accuracy,
        trivial=held[1].bincount().max().item() / held[1].numel(),
    )


@lru_cache(maxsize=8)
def binary_table(name: str) -> Task:
    """Return a yes-or-no question with a target of shape ``(n, 1)``: ``breast_cancer`` or ``rings``."""
    x, y = _rings() if name == "rings" else _measured(name)
    train, held = split((x,), y.float()[:, None], min(max(y.numel() // 5, 50), 400))
    share = held[1].mean().item()
    return Task(
        name=name,
        kind="binary",
        train=train,
        test=held,
        outputs=1,
        score=binary_accuracy,
        trivial=max(share, 1 - share),
    )


@lru_cache(maxsize=8)
def number_table(name: str) -> Task:
    """Return a regression with a target of shape ``(n, 1)``: ``diabetes``, ``housing``, ``friedman`` or ``waves``."""
    worlds = {"housing": _housing, "friedman": _friedman, "waves": _waves}
    x, y = worlds[name]() if name in worlds else _diabetes()
    train, held = split((x,), y, min(y.shape[0] // 5, 400))
    return Task(
        name=name,
        kind="regression",
        train=train,
        test=held,
        outputs=1,
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )


def _standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def _measured(name: str) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    x = torch.tensor(found.data, dtype=torch.float32)
    x = (x - x.mean()) / x.std() if name == "digits" else _standard(x)
    return x, torch.tensor(found.target, dtype=torch.long)


def _diabetes() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    found = load_diabetes()
    y = torch.tensor(found.target, dtype=torch.float32)[:, None]
    return _standard(torch.tensor(found.data, dtype=torch.float32)), _standard(y)


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(map(ord, name)))


def _teacher() -> tuple[Tensor, Tensor]:
    """Six classes cut out of twenty features by a random two-layer network."""
    g = _generator("teacher")
    x = torch.randn(2400, 20, generator=g)
    hidden = torch.tanh(x @ torch.randn(20, 24, generator=g) / 3.0)
    return x, (hidden @ torch.randn(24, 6, generator=g)).argmax(1)


def _spirals() -> tuple[Tensor, Tensor]:
    g = _generator("spirals")
    y = torch.randint(0, 3, (1800,), generator=g)
    radius = torch.rand(1800, generator=g) * 0.9 + 0.1
    angle = radius * 4.5 + y * (2 * math.pi / 3) + 0.12 * torch.randn(1800, generator=g)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return _standard(x), y


def _blobs() -> tuple[Tensor, Tensor]:
    g = _generator("blobs")
    centres = 2.2 * torch.randn(8, 12, generator=g)
    y = torch.randint(0, 8, (2000,), generator=g)
    return _standard(centres[y] + 1.6 * torch.randn(2000, 12, generator=g)), y


def _noisy() -> tuple[Tensor, Tensor]:
    """A hard task: the best possible rule is right about two times in three."""
    g = _generator("noisy")
    x = torch.randn(2400, 16, generator=g)
    scores = x @ torch.randn(16, 4, generator=g) / 2.0
    gumbel = -torch.log(-torch.log(torch.rand(2400, 4, generator=g).clamp(1e-6, 1 - 1e-6)))
    return x, (scores + 0.9 * gumbel).argmax(1)


def _rings() -> tuple[Tensor, Tensor]:
    g = _generator("rings")
    x = torch.randn(1600, 6, generator=g)
    return x, ((x[:, :3].norm(dim=1) - x[:, 3:].norm(dim=1)) > 0).long()


def _housing() -> tuple[Tensor, Tensor]:
    """A table in the manner of house prices: skewed columns, a saturating effect, a place effect."""
    g = _generator("housing")
    n = 2000
    income = torch.randn(n, generator=g).mul(0.5).exp()
    age = torch.rand(n, generator=g)
    rooms = torch.randn(n, generator=g).mul(0.3).exp()
    place = torch.rand(n, 2, generator=g)
    people = torch.randn(n, generator=g)
    coast = (-6 * (place - torch.tensor([0.2, 0.7])).square().sum(1)).exp()
    price = 1.2 * income.log1p() + 0.8 * coast + 0.3 * rooms * (1 - age) - 0.1 * people.square()
    y = price + 0.1 * torch.randn(n, generator=g)
    x = torch.stack([income, age, rooms, place[:, 0], place[:, 1], people], 1)
    return _standard(x), _standard(y[:, None])


def _friedman() -> tuple[Tensor, Tensor]:
    g = _generator("friedman")
    x = torch.rand(2000, 10, generator=g)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5).square()
    y = y + 10 * x[:, 3] + 5 * x[:, 4] + torch.randn(2000, generator=g)
    return _standard(x), _standard(y[:, None])


def _waves() -> tuple[Tensor, Tensor]:
    g = _generator("waves")
    x = torch.rand(1500, 2, generator=g) * 2 - 1
    y = torch.sin(3 * x[:, :1]) * torch.cos(2 * x[:, 1:]) + 0.3 * x[:, :1]
    return x, y + 0.02 * torch.randn(1500, 1, generator=g)
