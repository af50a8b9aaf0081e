"""Architecture families: each draws complete training programs that are healthy by construction."""

from __future__ import annotations

from functools import lru_cache

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families import attention, dense, images, sequences, worlds
from benchmarks.corpus.program import Program

__all__ = ["FAMILIES", "draw_program"]

FAMILIES = {
    **dense.FAMILIES,
    **images.FAMILIES,
    **sequences.FAMILIES,
    **attention.FAMILIES,
    **worlds.FAMILIES,
}


@lru_cache(maxsize=4096)
def draw_program(family: str, number: int) -> Program:
    """Return a healthy program of a family; the same number is always the same program."""
    return FAMILIES[family](Draw("program", family, number))
