"""Small real data that ships with an installed package or the standard library."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["VOCABULARY", "characters", "diabetes", "digits", "ratings"]

VOCABULARY = 64
# The same data whatever device is the default one.
HOST = "cpu"


@lru_cache(maxsize=1)
def digits() -> tuple[Tensor, Tensor]:
    """Return 1,797 handwritten digits, shape ``(n, 64)`` in [0, 1] standardised to unit scale, and labels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, only demos need it

    found = load_digits()
    x = torch.tensor(found.data, dtype=torch.float32, device=HOST) / 16.0
    y = torch.tensor(found.target, dtype=torch.long, device=HOST)
    return (x - x.mean()) / x.std(), y


@lru_cache(maxsize=1)
def diabetes() -> tuple[Tensor, Tensor]:
    """Return ten standardised measurements of 442 patients and the standardised progression, ``(n, 1)``."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415 - takes a second, only demos need it

    found = load_diabetes()
    x = torch.tensor(found.data, dtype=torch.float32, device=HOST)
    y = torch.tensor(found.target, dtype=torch.float32, device=HOST)[:, None]
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


@lru_cache(maxsize=1)
def characters() -> Tensor:
    """Return the language reference of Python as character ids below ``VOCABULARY``, shape ``(n,)``."""
    from pydoc_data.topics import topics  # noqa: PLC0415 - a megabyte of text

    text = "".join(topics[name] for name in sorted(topics))[:60_000].lower()
    common = sorted(set(text), key=lambda c: (-text.count(c), c))[: VOCABULARY - 1]
    index = {c: i + 1 for i, c in enumerate(common)}
    return torch.tensor([index.get(c, 0) for c in text], device=HOST)


def ratings(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return users, items and ratings of a low-rank world: 4,000 ratings, 120 users, 80 items."""
    generator = torch.Generator(HOST).manual_seed(1000 + seed)
    users = torch.randint(0, 120, (4000,), generator=generator, device=HOST)
    items = torch.randint(0, 80, (4000,), generator=generator, device=HOST)
    taste = torch.randn(120, 4, generator=generator, device=HOST)
    trait = torch.randn(80, 4, generator=generator, device=HOST)
    noise = 0.2 * torch.randn(4000, generator=generator, device=HOST)
    return users, items, (taste[users] * trait[items]).sum(1) / math.sqrt(4) + noise
