"""Repeatable choices: the same key always draws the same program."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draw"]

T = TypeVar("T")


class Draw:
    """A source of choices that depends on nothing but its key.

    Parameters
    ----------
    key
        Any parts; their text seeds the generator, so that a draw stays the same when other draws
        are added or taken away.
    """

    def __init__(self, *key: object) -> None:
        self.key = key
        self._rng = np.random.default_rng(zlib.crc32("/".join(map(str, key)).encode()))

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._rng.integers(len(options)))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """Return up to ``count`` different options, in their own order."""
        count = min(count, len(options))
        chosen = self._rng.choice(len(options), size=count, replace=False)
        return [options[i] for i in sorted(int(c) for c in chosen)]

    def log(self, low: float, high: float) -> float:
        """Return a number between two positive bounds, uniform in its logarithm, two digits long."""
        value = float(np.exp(self._rng.uniform(np.log(low), np.log(high))))
        return float(f"{value:.1e}")

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two bounds, three digits long."""
        return round(float(self._rng.uniform(low, high)), 3)

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, both bounds included."""
        return int(self._rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self._rng.random() < probability)
