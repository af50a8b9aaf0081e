"""Who saw a failure first: what happened once on some ranks before it happened on all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from neuraldbg.records.ranks import First
from neuraldbg.records.recording import Occurrence

__all__ = ["first_of", "told_once"]

# Within one step a bad value travels in this order; the exchange of gradients carries it to the other ranks.
STAGES = {
    "nonfinite_input": "a batch with non-finite values",
    "nonfinite_target": "a non-finite target",
    "nonfinite_forward": "the first non-finite value of a forward pass",
    "nonfinite_loss": "a non-finite loss",
    "nonfinite_gradient": "a non-finite gradient",
    "nonfinite_parameter": "a non-finite parameter",
}
ORDER = tuple(STAGES)
# What a rank raises because another one is gone.
ECHOES = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError", "RuntimeError"})
Seen = Mapping[int, Sequence[Occurrence]]


def first_of(seen: Seen) -> First | None:
    """Return the ranks at which the run began to fail; None if none did, or all in the same step and way.

    Parameters
    ----------
    seen
        Rank to what happened once there.
    """
    return _first_bad_value(seen) or _first_exception(seen)


def _first_bad_value(seen: Seen) -> First | None:
    found = {
        rank: min((x.step, ORDER.index(x.kind)) for x in mine if x.kind in STAGES)
        for rank, mine in seen.items()
        if any(x.kind in STAGES for x in mine)
    }
    return _earliest(found, len(seen), lambda stage: (ORDER[stage], STAGES[ORDER[stage]]))


def _first_exception(seen: Seen) -> First | None:
    kinds: dict[int, str] = {}
    found = {}
    for rank, mine in seen.items():
        for x in mine:
            if x.kind == "exception":
                kinds[rank] = str(x.facts.get("type"))
                found[rank] = (x.step, int(kinds[rank] in ECHOES))
    first = _earliest(found, len(seen), lambda _: ("exception", "an exception"))
    if first is None:
        return None
    return replace(first, what=f"{kinds[first.ranks[0]]} was raised")


def _earliest(
    found: Mapping[int, tuple[int, int]], count: int, words: Callable[[int], tuple[str, str]]
) -> First | None:
    if not found:
        return None
    start = min(found.values())
    ranks = tuple(sorted(rank for rank, when in found.items() if when == start))
    if len(ranks) == count > 1:
        return None
    kind, what = words(start[1])
    return First(ranks=ranks, step=start[0], what=what, kind=kind)


def told_once(seen: Seen, first: First | None) -> tuple[Occurrence, ...]:
    """Return what happened once in the run, each with its rank, in order of time.

    Where a bad value came from is told by the rank that saw it first: what the others saw is what the
    exchange of gradients brought them.
    """
    best: dict[tuple[str, int], tuple[int, Occurrence]] = {}
    for rank in sorted(seen):
        for x in _believed(rank, seen[rank], first):
            known = best.get((x.kind, x.layer))
            if known is None or x.step < known[1].step:
                best[x.kind, x.layer] = (rank, x)
    told = [replace(x, facts={**x.facts, "rank": rank}) for rank, x in best.values()]
    return tuple(
        sorted(told, key=lambda x: (x.step, ORDER.index(x.kind) if x.kind in STAGES else 9))
    )


def _believed(rank: int, mine: Sequence[Occurrence], first: First | None) -> Iterable[Occurrence]:
    if first is None or first.kind not in STAGES or rank in first.ranks:
        return mine
    return (x for x in mine if x.kind not in STAGES)
