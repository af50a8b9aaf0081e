"""Finished runs in a local cache that git ignores; never read from anywhere else."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.injection.program import Result
from benchmarks.learning.table import Label

__all__ = ["CACHE", "Kept", "cached"]

CACHE = Path(".cache/injection")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One finished run."""

    label: Label
    result: Result
    recording: Any
    optimizer: str


class _Reader(pickle.Unpickler):
    """Finds ``Kept`` also where the runner was started as a script."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Kept":
            return Kept
        return super().find_class(module, name)


def cached() -> Iterator[Kept]:
    """Yield every run of the cache, in order of name."""
    for path in sorted(CACHE.glob("*.pkl")):
        yield from _Reader(BytesIO(path.read_bytes())).load()
