"""What a fault does to a program, and what the label then says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.program import Program

__all__ = ["Fault", "Injection"]


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One fault inside one program.

    Attributes
    ----------
    broken
        The program with the fault.
    twin
        The program without it; None when that is the program that was given.
    accept
        Further mechanisms that describe the same thing equally well.
    layers
        Dotted names where it sits; None when it has no place in the model.
    onset
        Step, or inclusive range of steps, from which it acts; None when only the run can tell (then
        the first non-finite loss settles it).
    symptom
        Failure kind to expect.
    strength
        How strong it is, for people.
    """

    broken: Program
    twin: Program | None = None
    accept: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = None
    onset: int | tuple[int, int] | None = 0
    symptom: str = ""
    strength: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A way to go wrong.

    Attributes
    ----------
    mechanism
        Slug of the mechanism, or ``unknown_cause``.
    variant
        Which of several ways.
    inject
        Returns the injection, or None where the fault does not fit the program.
    weight
        How often it is drawn beside the other variants of its mechanism.
    """

    mechanism: str
    variant: str
    inject: Callable[[Program, Draw], Injection | None]
    weight: int = 1

    @property
    def name(self) -> str:
        """Mechanism and variant."""
        return f"{self.mechanism}.{self.variant}"
