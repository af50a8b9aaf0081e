"""Which cases the corpus holds: a fixed list for a given source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from benchmarks.corpus.cases import CorpusCase, fault_case, odd_case, pair_case, plain_case
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.families import FAMILIES
from benchmarks.corpus.faults import FAULTS, MECHANISMS, MILD
from benchmarks.corpus.odd import ODDITIES

__all__ = ["BASES", "feasible", "plan"]

BASES = 10
"""Healthy draws of each family; many faults share a draw and with it its twin."""

FAULTS_EACH = 3
UNKNOWN_EACH = 6
PAIRS_EACH = 6
MILD_EACH = 4
ODD_EACH = 20
TRIES = 24


def plan(families: Sequence[str] = ()) -> list[CorpusCase]:
    """Return all cases of the families (all families when none is named), family by family."""
    return [case for family in families or FAMILIES for case in _family(family)]


@lru_cache(maxsize=64)
def _family(family: str) -> tuple[CorpusCase, ...]:
    found: dict[str, CorpusCase] = {}
    for case in _draws(family):
        found.setdefault(case.id, case)
    return tuple(found.values())


def _draws(family: str) -> Iterator[CorpusCase]:
    for number in range(BASES):
        yield plain_case(family, number)
    for mechanism in MECHANISMS:
        count = UNKNOWN_EACH if mechanism == "unknown_cause" else FAULTS_EACH
        yield from feasible(family, mechanism, count)
    yield from _seldom(family)
    yield from _pairs(family)
    yield from _mild(family)
    yield from _odd(family)


def feasible(family: str, mechanism: str, count: int) -> list[CorpusCase]:
    """Return up to ``count`` cases of a mechanism in a family, of as many variants as fit."""
    draw = Draw("plan", family, mechanism)
    variants = [f for f in FAULTS if f.mechanism == mechanism and f.weight]
    found: dict[str, CorpusCase] = {}
    used: dict[str, int] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        fault = draw.pick([f for f in variants for _ in range(f.weight)])
        number = draw.whole(0, BASES - 1)
        rare = min((used.get(f.name, 0) for f in variants), default=0)
        if used.get(fault.name, 0) > rare and draw.chance(0.6):
            continue
        case = fault_case(family, fault.name, number)
        if case is not None and case.id not in found:
            found[case.id] = case
            used[fault.name] = used.get(fault.name, 0) + 1
    return list(found.values())


def _seldom(family: str) -> Iterator[CorpusCase]:
    """Yield what only few families can have, which the draws of all mechanisms alike leave too few of."""
    for fault in FAULTS:
        for number in range(BASES if fault.weight == 0 else 0):
            case = fault_case(family, fault.name, number)
            if case is not None:
                yield case


def _pairs(family: str) -> Iterator[CorpusCase]:
    draw = Draw("pairs", family)
    names = [f.name for f in FAULTS if f.mechanism != "unknown_cause" for _ in range(f.weight)]
    found: dict[str, CorpusCase] = {}
    for _ in range(TRIES * PAIRS_EACH):
        if len(found) == PAIRS_EACH:
            break
        first, second = draw.pick(names), draw.pick(names)
        if first.partition(".")[0] == second.partition(".")[0]:
            continue
        case = pair_case(family, (first, second), draw.whole(0, BASES - 1))
        if case is not None and _distinct(case):
            found.setdefault(case.id, case)
    yield from found.values()


def _distinct(case: CorpusCase) -> bool:
    """Return whether neither fault hides the other by construction (same field, opposite values)."""
    kinds = {f["mechanism"] for f in case.injected}
    return not any(len(kinds & group) == 2 for group in EXCLUSIVE)


EXCLUSIVE = (
    {"learning_rate_too_high", "learning_rate_too_low"},
    {"learning_rate_too_low", "learning_rate_schedule_bug"},
    {"learning_rate_too_high", "learning_rate_schedule_bug"},
    {"initialization_too_large", "initialization_too_small"},
    {"symmetric_initialization", "initialization_too_small"},
    {"symmetric_initialization", "initialization_too_large"},
    {"saturated_activations", "initialization_too_large"},
    {"excessive_gradient_clipping", "gradients_not_cleared"},
    {"parameters_not_updated", "learning_rate_too_low"},
)
"""Pairs of mechanisms of which one undoes or contains the other."""


def _mild(family: str) -> Iterator[CorpusCase]:
    draw = Draw("mild", family)
    found: dict[str, CorpusCase] = {}
    for _ in range(TRIES):
        if len(found) == MILD_EACH:
            break
        case = fault_case(family, draw.pick(MILD).name, draw.whole(0, BASES - 1))
        if case is not None:
            found.setdefault(case.id, case)
    yield from found.values()


RARE = frozenset(
    [
        "adapters",
        "catapult",
        "converged",
        "decay-with-norm",
        "frozen-embedding",
        "full-batch",
        "half-dropout",
        "hard-numbers",
        "hard-task",
        "linear-probe",
        "long-decay",
        "momentum-0.95",
        "momentum-0.99",
        "padding",
        "pretrained",
        "sharp-heads",
        "small-batches",
        "sparse-units",
        "tied",
        "weight-norm",
        "zero-branches",
    ]
)
"""Oddities that fit few families, or that fool naive tools most."""


def _odd(family: str) -> Iterator[CorpusCase]:
    """Yield every oddity that fits once, up to a limit: first those that fit few families, then the rest in a random order."""
    draw = Draw("odd", family)
    names = [o.name for o in ODDITIES]
    order = sorted(names, key=lambda name: (name not in RARE, draw.uniform(0, 1)))
    count = 0
    for name in order:
        for _ in range(4):
            case = odd_case(family, name, draw.whole(0, BASES - 1))
            if case is not None:
                yield case
                count += 1
                break
        if count == ODD_EACH:
            return
