"""Graphs, ratings, pairs, clouds of points and fields."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.corpus.task import Task, accuracy, normalised_error, split

__all__ = ["cloud", "communities", "field", "molecules", "pairs", "ratings"]


@lru_cache(maxsize=1)
def communities() -> Task:
    """Return small graphs: node features ``(n, v, f)``, adjacency ``(n, v, v)`` and a class per node.

    A node's own features are weak; those of its neighbours settle its class.
    """
    g = torch.Generator().manual_seed(41)
    n, v = 500, 16
    y = torch.randint(0, 3, (n, v), generator=g)
    same = y[:, :, None] == y[:, None, :]
    chance = torch.where(same, torch.tensor(0.6), torch.tensor(0.08))
    upper = (torch.rand(n, v, v, generator=g) < chance).float().triu(1)
    adjacency = upper + upper.transpose(1, 2)
    centre = torch.randn(3, 8, generator=g)
    x = 0.7 * centre[y] + 1.2 * torch.randn(n, v, 8, generator=g)
    train, held = split((x, adjacency), y, 80)
    return Task(
        name="communities",
        kind="nodes",
        train=train,
        test=held,
        outputs=3,
        score=lambda o, t: accuracy(o.flatten(0, 1), t.flatten()),
        trivial=held[1].flatten().bincount().max().item() / held[1].numel(),
    )


@lru_cache(maxsize=1)
def molecules() -> Task:
    """Return small graphs with one number each: how well the signs of neighbours agree."""
    g = torch.Generator().manual_seed(42)
    n, v = 900, 12
    upper = (torch.rand(n, v, v, generator=g) < 0.25).float().triu(1)
    adjacency = upper + upper.transpose(1, 2)
    x = torch.randn(n, v, 4, generator=g)
    spin = torch.tanh(2 * x[..., 0])
    energy = torch.einsum("nv,nvw,nw->n", spin, adjacency, spin) / v + x[..., 1].mean(1)
    y = ((energy - energy.mean()) / energy.std())[:, None]
    train, held = split((x, adjacency), y, 150)
    return Task(
        name="molecules",
        kind="regression",
        train=train,
        test=held,
        outputs=1,
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )


@lru_cache(maxsize=1)
def ratings() -> Task:
    """Return users, items and the ratings of a world with four hidden tastes; few users rate most."""
    g = torch.Generator().manual_seed(43)
    n = 6000
    users = (torch.rand(n, generator=g).square() * 80).long()
    items = (torch.rand(n, generator=g).pow(1.5) * 60).long()
    taste, trait = torch.randn(80, 4, generator=g), torch.randn(60, 4, generator=g)
    bias = 0.5 * torch.randn(60, generator=g)
    y = (taste[users] * trait[items]).sum(1) / 2 + bias[items] + 0.2 * torch.randn(n, generator=g)
    train, held = split((users, items), ((y - y.mean()) / y.std())[:, None], 600)
    return Task(
        name="ratings",
        kind="regression",
        train=train,
        test=held,
        outputs=1,
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )


@lru_cache(maxsize=1)
def pairs() -> Task:
    """Return two views ``(n, 24)`` of the same thing: a shared part, and a louder private part."""
    g = torch.Generator().manual_seed(44)
    n = 1800
    shared = torch.randn(n, 6, generator=g)
    mix, noise = torch.randn(6, 24, generator=g), torch.randn(10, 24, generator=g)
    views = [
        torch.tanh(shared @ mix / 2.5) + 0.35 * torch.randn(n, 10, generator=g) @ noise
        for _ in range(2)
    ]
    train, held = split((views[0], views[1]), torch.arange(n), 100)
    return Task(
        name="pairs",
        kind="pairs",
        train=train,
        test=held,
        outputs=8,
        score=_retrieval,
        trivial=1 / 100,
        perfect=1.0,
    )


def _retrieval(output: tuple[Tensor, Tensor], _target: Tensor) -> float:
    """Return how often the right partner is among the five nearest by cosine."""
    a, b = (torch.nn.functional.normalize(z.float(), dim=1) for z in output[:2])
    near = (a @ b.t()).topk(5, dim=1).indices
    right = near == torch.arange(a.shape[0])[:, None]
    if not torch.isfinite(a).all() or (a.std(0).max() < 1e-5):
        return 0.0
    return right.any(1).float().mean().item()


@lru_cache(maxsize=2)
def cloud(name: str = "ring") -> Task:
    """Return points of a plane: eight blobs on a ring, or two moons. The score is energy distance."""
    g = torch.Generator().manual_seed(45)
    n = 2000
    if name == "ring":
        angle = torch.randint(0, 8, (n,), generator=g) * (math.pi / 4)
        x = torch.stack([angle.cos(), angle.sin()], 1) * 1.4
        x = x + 0.12 * torch.randn(n, 2, generator=g)
    else:
        angle = torch.rand(n, generator=g) * math.pi
        side = torch.randint(0, 2, (n,), generator=g)
        x = torch.stack([angle.cos() + side - 0.5, angle.sin() * (1 - 2 * side) + 0.5 * side], 1)
        x = (x - x.mean(0)) / x.std(0) + 0.06 * torch.randn(n, 2, generator=g)
    train, held = split((x,), torch.zeros(n), 400)
    point = torch.zeros(400, 2) + 0.3 * torch.randn(400, 2, generator=g)
    return Task(
        name=name,
        kind="cloud",
        train=train,
        test=held,
        outputs=2,
        score=energy_distance,
        better="lower",
        trivial=energy_distance((point, held[0][0]), held[1]),
        perfect=0.0,
    )


def energy_distance(output: tuple[Tensor, Tensor], _target: Tensor) -> float:
    """Return the energy distance between generated and real points; 0 when they agree."""
    a, b = (x.float() for x in output)
    inside = torch.cdist(a, a).mean() + torch.cdist(b, b).mean()
    return (2 * torch.cdist(a, b).mean() - inside).item()


@lru_cache(maxsize=4)
def field(name: str = "waves") -> Task:
    """Return places of a line or a plane and the exact field there; for networks that know the law only.

    ``oscillator`` is u'' = -16 u with u(0) = 1, u'(0) = 0 on [0, 1]; ``poisson`` is u'' = f on [-1, 1]
    with u = 0 at both ends; ``picture`` is a plane to be fitted by a sine network.
    """
    g = torch.Generator().manual_seed(46)
    if name == "picture":
        x = torch.rand(2000, 2, generator=g) * 2 - 1
        y = torch.sin(7 * x[:, :1] + 2 * x[:, 1:].square()) * torch.cos(6 * x[:, 1:])
    elif name == "oscillator":
        x = torch.rand(1200, 1, generator=g)
        y = torch.cos(4 * x)
    else:
        x = torch.rand(1200, 1, generator=g) * 2 - 1
        y = torch.sin(math.pi * x)
    train, held = split((x,), y, 200)
    return Task(
        name=name,
        kind="regression" if name == "picture" else "field",
        train=train,
        test=held,
        outputs=1,
        score=normalised_error,
        better="lower",
        trivial=1.0,
        perfect=0.0,
    )
