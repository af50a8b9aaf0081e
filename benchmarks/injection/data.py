"""Small real and structured data: what ships with scikit-learn and Python, and teacher tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "graph",
    "images",
    "pairs",
    "ratings",
    "rows",
    "segments",
    "series",
    "tabular",
    "text",
    "tokens",
    "topics",
]

Batch = tuple[tuple[Tensor, ...], Tensor]
Data = Callable[[torch.Generator, int], Batch]


@lru_cache(maxsize=8)
def _table(name: str) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    found: Any = getattr(datasets, f"load_{name}")()
    x = torch.tensor(found.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-3)
    y = torch.tensor(found.target)
    return x, y.float() if name == "diabetes" else y.long()


def tabular(name: str) -> Data:
    """Return batches of a table: ``wine``, ``iris``, ``breast_cancer`` or ``diabetes`` (standardised)."""
    x, y = _table(name)
    if name == "diabetes":
        y = ((y - y.mean()) / y.std())[:, None]

    def draw(generator: torch.Generator, size: int) -> Batch:
        index = torch.randint(0, y.shape[0], (size,), generator=generator)
        return (x[index],), y[index]

    return draw


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32) / 16.0
    return (x - x.mean()) / x.std(), torch.tensor(found.target).long()


def images(*, flat: bool = False, target: str = "label") -> Data:
    """Return batches of handwritten digits; the target is the label, or the image itself."""
    x, y = _digits()
    x = x.flatten(1) if flat else x[:, None]

    def draw(generator: torch.Generator, size: int) -> Batch:
        index = torch.randint(0, y.shape[0], (size,), generator=generator)
        return (x[index],), x[index] if target == "image" else y[index]

    return draw


def rows() -> Data:
    """Return digits as sequences of eight rows."""
    x, y = _digits()

    def draw(generator: torch.Generator, size: int) -> Batch:
        index = torch.randint(0, y.shape[0], (size,), generator=generator)
        return (x[index],), y[index]

    return draw


@lru_cache(maxsize=1)
def _text() -> Tensor:
    from pydoc_data.topics import topics as pages

    text = "".join(pages[name] for name in sorted(pages))[60_000:130_000].lower()
    common = sorted(set(text), key=lambda c: (-text.count(c), c))[:47]
    index = {c: i + 1 for i, c in enumerate(common)}
    return torch.tensor([index.get(c, 0) for c in text])


def text(length: int) -> Data:
    """Return next-character prediction over 48 characters."""
    ids = _text()

    def draw(generator: torch.Generator, size: int) -> Batch:
        start = torch.randint(0, ids.numel() - length - 1, (size,), generator=generator)
        window = ids[start[:, None] + torch.arange(length + 1)]
        return (window[:, :-1],), window[:, 1:]

    return draw


@lru_cache(maxsize=1)
def _topics() -> tuple[Tensor, Tensor]:
    from pydoc_data.topics import topics as pages

    longest = sorted(pages, key=lambda n: -len(pages[n]))[:6]
    ids, labels = [], []
    for label, name in enumerate(longest):
        words = [hash_word(w) for w in pages[name].lower().split()]
        for start in range(0, len(words) - 24, 12):
            ids.append(words[start : start + 24])
            labels.append(label)
    return torch.tensor(ids), torch.tensor(labels)


def hash_word(word: str) -> int:
    """Return a word's id below 500, the same on every machine."""
    value = 0
    for char in word:
        value = (value * 31 + ord(char)) % 499
    return value + 1


def topics() -> Data:
    """Return word windows of six help topics and which topic they are from."""
    ids, labels = _topics()

    def draw(generator: torch.Generator, size: int) -> Batch:
        index = torch.randint(0, labels.numel(), (size,), generator=generator)
        return (ids[index],), labels[index]

    return draw


def tokens(length: int, vocabulary: int = 16) -> Data:
    """Return random tokens; the class is the most frequent of the first four ids."""

    def draw(generator: torch.Generator, size: int) -> Batch:
        ids = torch.randint(0, vocabulary, (size, length), generator=generator)
        counts = torch.stack([(ids == k).sum(1) for k in range(4)], dim=1)
        return (ids,), counts.argmax(1)

    return draw


def ratings() -> Data:
    """Return users, items and ratings of a low-rank world."""
    world = torch.Generator().manual_seed(7)
    taste = torch.randn(100, 4, generator=world)
    trait = torch.randn(60, 4, generator=world)

    def draw(generator: torch.Generator, size: int) -> Batch:
        users = torch.randint(0, 100, (size,), generator=generator)
        items = torch.randint(0, 60, (size,), generator=generator)
        noise = 0.2 * torch.randn(size, generator=generator)
        stars = (taste[users] * trait[items]).sum(1) / 2.0 + noise
        return (users, items), stars[:, None]

    return draw


def graph(nodes: int = 12) -> Data:
    """Return random graphs as node features and adjacency; the class is the densest of three node kinds."""

    def draw(generator: torch.Generator, size: int) -> Batch:
        kind = torch.randint(0, 3, (size, nodes), generator=generator)
        x = torch.nn.functional.one_hot(kind, 3).float()
        x = torch.cat([x, torch.randn(size, nodes, 5, generator=generator)], dim=-1)
        link = (torch.rand(size, nodes, nodes, generator=generator) < 0.35).float()
        link = torch.maximum(link, link.transpose(1, 2))
        degree = link.sum(-1)
        mass = torch.stack([(degree * (kind == k)).sum(1) for k in range(3)], dim=1)
        return (x, link), mass.argmax(1)

    return draw


def pairs() -> Data:
    """Return pairs of digits; 1 if they show the same digit."""
    x, y = _digits()
    x = x.flatten(1)

    def draw(generator: torch.Generator, size: int) -> Batch:
        first = torch.randint(0, y.shape[0], (size,), generator=generator)
        second = torch.randint(0, y.shape[0], (size,), generator=generator)
        for i in range(0, size, 2):
            same = torch.nonzero(y == y[first[i]])[:, 0]
            second[i] = same[int(torch.randint(0, same.numel(), (1,), generator=generator))]
        return (x[first], x[second]), (y[first] == y[second]).float()

    return draw


def segments() -> Data:
    """Return noisy 16 x 16 images with a disc, and its mask."""
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def draw(generator: torch.Generator, size: int) -> Batch:
        center = 3 + 10 * torch.rand(size, 2, 1, 1, generator=generator)
        radius = 2 + 3 * torch.rand(size, 1, 1, generator=generator)
        mask = ((yy - center[:, 0]) ** 2 + (xx - center[:, 1]) ** 2).sqrt() < radius
        noise = torch.randn(size, 16, 16, generator=generator)
        return ((mask.float() * 1.5 - 0.5 + 0.7 * noise)[:, None],), mask[:, None].float()

    return draw


def series(length: int = 32) -> Data:
    """Return windows of mixed sines and the next value."""

    def draw(generator: torch.Generator, size: int) -> Batch:
        phase = 2 * math.pi * torch.rand(size, 2, generator=generator)
        rate = 0.2 + 0.3 * torch.rand(size, 2, generator=generator)
        t = torch.arange(length + 1.0)
        wave = torch.sin(rate[:, :1] * t + phase[:, :1]) + 0.6 * torch.sin(
            rate[:, 1:] * t + phase[:, 1:]
        )
        wave = wave + 0.05 * torch.randn(size, length + 1, generator=generator)
        return (wave[:, None, :-1],), wave[:, -1:]

    return draw


def teacher(inputs: int, outputs: int, *, noise: float = 0.1) -> Data:
    """Return regression on a fixed random network."""
    world = torch.Generator().manual_seed(inputs * 31 + outputs)
    first = torch.randn(inputs, 16, generator=world) / inputs**0.5
    second = torch.randn(16, outputs, generator=world) / 4.0

    def draw(generator: torch.Generator, size: int) -> Batch:
        x = torch.randn(size, inputs, generator=generator)
        y = torch.sin(2.0 * x @ first) @ second * 1.4
        return (x,), y + noise * torch.randn(size, outputs, generator=generator)

    return draw
