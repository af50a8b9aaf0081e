"""Healthy programs that fool naive tools: unusual habits that do no harm (mechanisms.md section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.oddities import habits, models, rates
from benchmarks.corpus.program import Program

__all__ = ["ODDITIES", "Oddity"]


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """One unusual but healthy habit; ``change`` returns None where it does not fit."""

    name: str
    change: Callable[[Program, Draw], Program | None]


ODDITIES: tuple[Oddity, ...] = tuple(
    Oddity(name=name, change=change)
    for table in (rates.ODDITIES, habits.ODDITIES, models.ODDITIES, rates.LATER)
    for name, change in table.items()
)
