"""Small images: scanned digits, and drawn shapes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.corpus.task import Task, accuracy, mean_iou, normalised_error, split
from benchmarks.corpus.tasks.tables import class_table

__all__ = ["image_classes", "reconstruction", "segmentation"]


@lru_cache(maxsize=4)
def image_classes(name: str) -> Task:
    """Return images ``(n, 1, h, w)`` with classes: ``digits`` (8 x 8), ``shapes`` or ``stripes`` (12 x 12)."""
    if name == "digits":
        flat = class_table("digits")
        (x,), y = flat.train
        (xt,), yt = flat.test
        train, held = (
            ((x.view(-1, 1, 8, 8),), y),
            ((xt.view(-1, 1, 8, 8),), yt),
        )
    else:
        x, y = _shapes() if name == "shapes" else _stripes()
        train, held = split((x,), y, 300)
    return Task(
        name=name,
        kind="classes",
        train=train,
        test=held,
        outputs=int(train[1].max()) + 1,
        score=accuracy,
        trivial=held[1].bincount().max().item() / held[1].numel(),
    )


@lru_cache(maxsize=4)
def reconstruction(name: str) -> Task:
    """Return data that is its own target: ``digits`` (64 pixels) or ``curves`` (32 samples of a curve)."""
    x = class_table("digits").train[0][0] if name == "digits" else _curves()
    train, held = split((x,), x, 300)
    return Task(
        name=name,
        kind="reconstruction",
        train=train,
        test=held,
        outputs=x.shape[1],
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )


@lru_cache(maxsize=2)
def segmentation(classes: int = 3) -> Task:
    """Return 16 x 16 images with one class per pixel; class 0 is background."""
    x, y = _scenes(700, classes)
    train, held = split((x,), y, 120)
    return Task(
        name=f"scenes{classes}",
        kind="pixels",
        train=train,
        test=held,
        outputs=classes,
        score=mean_iou,
        trivial=0.0,
    )


def _grid(side: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(side, dtype=torch.float32)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return rows, columns


def _shapes() -> tuple[Tensor, Tensor]:
    """Discs, squares, crosses and rings at random places, on noise."""
    g = torch.Generator().manual_seed(11)
    n, side = 1500, 12
    y = torch.randint(0, 4, (n,), generator=g)
    centre = torch.rand(n, 2, 1, 1, generator=g) * 5 + 3
    size = torch.rand(n, 1, 1, generator=g) * 1.5 + 2
    rows, columns = _grid(side)
    dr, dc = (rows - centre[:, 0]).abs(), (columns - centre[:, 1]).abs()
    distance = (dr.square() + dc.square()).sqrt()
    drawn = torch.stack(
        [
            distance < size,
            torch.maximum(dr, dc) < size * 0.9,
            (torch.minimum(dr, dc) < 0.8) & (torch.maximum(dr, dc) < size * 1.2),
            (distance < size * 1.1) & (distance > size * 0.6),
        ]
    )
    x = drawn[y, torch.arange(n)].float() + 0.25 * torch.randn(n, side, side, generator=g)
    return ((x - x.mean()) / x.std())[:, None], y


def _stripes() -> tuple[Tensor, Tensor]:
    """Gratings in five directions."""
    g = torch.Generator().manual_seed(12)
    n = 1500
    y = torch.randint(0, 5, (n,), generator=g)
    angle = y * (torch.pi / 5) + 0.08 * torch.randn(n, generator=g)
    rows, columns = _grid(12)
    along = angle.cos()[:, None, None] * rows + angle.sin()[:, None, None] * columns
    phase = 6.28 * torch.rand(n, 1, 1, generator=g)
    pace = 1.0 + 0.8 * torch.rand(n, 1, 1, generator=g)
    x = torch.sin(along * pace + phase) + 0.5 * torch.randn(n, 12, 12, generator=g)
    return (x / x.std())[:, None], y


def _curves() -> Tensor:
    """Sums of two sine waves: 32 numbers that have four degrees of freedom."""
    g = torch.Generator().manual_seed(13)
    n = 1500
    time = torch.linspace(0, 1, 32)
    size = torch.randn(n, 4, 1, generator=g)
    waves = torch.stack(
        [
            torch.sin(6.28 * time),
            torch.cos(6.28 * time),
            torch.sin(12.57 * time),
            torch.cos(18.85 * time),
        ]
    )
    x = (size * waves).sum(1)
    x = x + 0.3 * x.square() - 0.3
    return x / x.std()


def _scenes(n: int, classes: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(14 + classes)
    rows, columns = _grid(16)
    y = torch.zeros(n, 16, 16, dtype=torch.long)
    for kind in range(1, classes):
        centre = torch.rand(n, 2, 1, 1, generator=g) * 11 + 2
        dr, dc = (rows - centre[:, 0]).abs(), (columns - centre[:, 1]).abs()
        size = torch.rand(n, 1, 1, generator=g) * 1.5 + 1.8
        inside = torch.maximum(dr, dc) < size if kind % 2 else dr.square() + dc.square() < size**2
        y[inside] = kind
    level = torch.tensor([0.0, 0.9, 1.0, -0.9])[y]
    texture = torch.where(y == 2, 0.6 * torch.sin(2.2 * columns), torch.zeros(()))
    x = level + texture + 0.35 * torch.randn(n, 16, 16, generator=g)
    return ((x - x.mean()) / x.std())[:, None], y
