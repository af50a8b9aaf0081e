"""Cases: a program, what is wrong with it, and its twin, under the interface that every judge of the engine uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NotRequired, TypedDict

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families import draw_program
from benchmarks.corpus.faults import FAULTS, MILD
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.loop import Result, train
from benchmarks.corpus.odd import ODDITIES
from benchmarks.corpus.program import Program

__all__ = ["CorpusCase", "Injected", "fault_case", "odd_case", "pair_case", "plain_case"]

BY_NAME: dict[str, Fault] = {fault.name: fault for fault in FAULTS}
MILD_BY_NAME: dict[str, Fault] = {fault.name: fault for fault in MILD}
ODD_BY_NAME = {oddity.name: oddity for oddity in ODDITIES}


class Injected(TypedDict):
    """One injected fault of a case."""

    mechanism: str
    variant: str
    accept: list[str]
    layers: list[str] | None
    onset: int | tuple[int, int] | None
    strength: str


class Truth(TypedDict):
    """What a right diagnosis says; ``mechanisms == []`` is a healthy run."""

    mechanisms: list[str]
    also: NotRequired[list[str]]
    layers: NotRequired[list[str] | None]
    onset: NotRequired[int | tuple[int, int] | None]
    symptom: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class CorpusCase:
    """One case of the corpus.

    Attributes
    ----------
    id
        Unique slug.
    truth
        What a right diagnosis says.
    family
        Architecture family, the unit of every split.
    title
        One line for people.
    kind
        ``fault``, ``unknown``, ``pair``, ``mild`` (injected, but too weak to matter), ``odd`` or ``plain``.
    injected
        Every injected fault by itself.
    number
        The draw of the program; also the seed of its run.
    base
        Whether the twin is the plain program of the same draw, which is shared by many cases.
    broken, healthy
        The program, and the program of its twin.
    """

    id: str
    truth: Truth
    family: str
    title: str
    kind: str
    injected: tuple[Injected, ...]
    number: int
    base: bool
    broken: Program
    healthy: Program

    def train(self, observe: Callable[..., Any], seed: int = 0, *, fixed: bool = False) -> Result:
        """Run the case, or its twin, inside ``observe(model, optimizer)``."""
        return train(self.healthy if fixed else self.broken, observe, seed)

    @property
    def twin_id(self) -> str:
        """Name of the run that this one is compared with."""
        return f"{self.family}-plain-{self.number}" if self.base else f"{self.id}~twin"


def _injected(fault: Fault, injection: Injection) -> Injected:
    return Injected(
        mechanism=fault.mechanism,
        variant=fault.variant,
        accept=list(injection.accept),
        layers=list(injection.layers) if injection.layers is not None else None,
        onset=injection.onset,
        strength=injection.strength,
    )


@lru_cache(maxsize=8192)
def fault_case(family: str, name: str, number: int) -> CorpusCase | None:
    """Return a program with one fault, or None where the fault does not fit the draw."""
    mild = name.endswith(".mild")
    fault = (MILD_BY_NAME if mild else BY_NAME)[name]
    program = draw_program(family, number)
    injection = fault.inject(program, Draw("fault", family, name, number))
    if injection is None:
        return None
    found = _injected(fault, injection)
    truth = Truth(
        mechanisms=[] if mild else [fault.mechanism, *injection.accept],
        also=[fault.mechanism] if mild else [],
        layers=None if mild else found["layers"],
        onset=None if mild else injection.onset,
        symptom=injection.symptom,
    )
    kind = "mild" if mild else "unknown" if fault.mechanism == "unknown_cause" else "fault"
    return CorpusCase(
        id=f"{family}-{name}-{number}",
        truth=truth,
        family=family,
        title=f"{fault.mechanism.replace('_', ' ')}: {injection.strength}",
        kind=kind,
        injected=(found,),
        number=number,
        base=injection.twin is None,
        broken=injection.broken,
        healthy=injection.twin or program,
    )


def pair_case(family: str, names: tuple[str, str], number: int) -> CorpusCase | None:
    """Return a program with two faults; only faults whose twin is the plain program combine."""
    program = draw_program(family, number)
    broken, found, symptoms = program, [], []
    for name in names:
        fault = BY_NAME[name]
        injection = fault.inject(broken, Draw("pair", family, name, number))
        if injection is None or injection.twin is not None:
            return None
        broken = injection.broken
        found.append(_injected(fault, injection))
        symptoms.append(injection.symptom)
    accepted = [m for f in found for m in (f["mechanism"], *f["accept"])]
    layers = [name for f in found for name in f["layers"] or ()]
    return CorpusCase(
        id=f"{family}-{names[0]}+{names[1]}-{number}",
        truth=Truth(
            mechanisms=list(dict.fromkeys(accepted)),
            layers=layers or None,
            onset=found[0]["onset"] if found[0]["onset"] == found[1]["onset"] else None,
            symptom=symptoms[0],
        ),
        family=family,
        title=" and ".join(f"{f['mechanism'].replace('_', ' ')}: {f['strength']}" for f in found),
        kind="pair",
        injected=tuple(found),
        number=number,
        base=True,
        broken=broken,
        healthy=program,
    )


def odd_case(family: str, name: str, number: int) -> CorpusCase | None:
    """Return a healthy program with an unusual habit; its twin is the program without the habit."""
    program = draw_program(family, number)
    changed = ODD_BY_NAME[name].change(program, Draw("odd", family, name, number))
    if changed is None:
        return None
    return CorpusCase(
        id=f"{family}-odd-{name}-{number}",
        truth=Truth(mechanisms=[]),
        family=family,
        title=f"healthy, with {name}",
        kind="odd",
        injected=(),
        number=number,
        base=True,
        broken=changed,
        healthy=program,
    )


def plain_case(family: str, number: int) -> CorpusCase:
    """Return a healthy program as it was drawn."""
    program = draw_program(family, number)
    return CorpusCase(
        id=f"{family}-plain-{number}",
        truth=Truth(mechanisms=[]),
        family=family,
        title="healthy",
        kind="plain",
        injected=(),
        number=number,
        base=True,
        broken=program,
        healthy=program,
    )
