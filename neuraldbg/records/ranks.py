"""What the recordings of several ranks say of one another: who was first, who drifted, who is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Drift", "First", "Ranks", "named"]

MOST_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """Where a failure was seen first.

    Attributes
    ----------
    ranks
        The ranks that saw it before all others.
    step
        Optimizer step.
    what
        In words, for example ``"a batch with non-finite values"``.
    kind
        Kind of the occurrence, ``"exception"`` or ``"loss_spike"``.
    """

    ranks: tuple[int, ...]
    step: int
    what: str
    kind: str

    def __str__(self) -> str:
        return f"{named(self.ranks)} first, step {self.step}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A number that should be the same on all ranks, and is not from a step on.

    Attributes
    ----------
    what
        ``"gradients"``, ``"weights"``, ``"initial weights"``, ``"learning rates"`` or ``"losses"``.
    ranks
        Those that left the others; all of them if no two agree.
    step
        First step of the difference that lasted.
    size
        Largest ratio to the other ranks, as a factor of at least 1.
    apart
        Whether no majority of ranks agrees.
    """

    what: str
    ranks: tuple[int, ...]
    step: int
    size: float
    apart: bool = False

    def __str__(self) -> str:
        how = "drift apart" if self.apart else "leave those of the other ranks"
        by = f"{100 * (self.size - 1):.2g} %" if self.size < 2 else f"a factor of {self.size:.3g}"
        return f"{self.what} of {named(self.ranks)} {how} from step {self.step} on, by up to {by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The ranks of one run beside one another.

    Attributes
    ----------
    ranks
        Those whose recordings were merged.
    count
        How many took part in the run.
    sharded
        Whether parameters were sharded over them.
    first
        Who saw a failure first; None if nobody did, or all in the same step.
    drifts
        What differs that should not, in order of time.
    unfinished
        Ranks whose recording has no end while those of others have one.
    """

    ranks: tuple[int, ...]
    count: int
    sharded: bool = False
    first: First | None = None
    drifts: tuple[Drift, ...] = ()
    unfinished: tuple[int, ...] = ()

    @property
    def missing(self) -> tuple[int, ...]:
        """Ranks without a recording."""
        return tuple(sorted(set(range(self.count)) - set(self.ranks)))

    @property
    def unsynchronized(self) -> Drift | None:
        """The first difference of ranks that train models of their own; None if their weights agree."""
        exact = [d for d in self.drifts if d.what in {"gradients", "weights", "initial weights"}]
        # Gradients alone may differ on purpose: weights are brought together every few steps.
        return exact[0] if any(d.what != "gradients" for d in exact) else None

    def lines(self) -> tuple[str, ...]:
        """Return everything that is worth saying, a clause each."""
        found = [str(self.first)] if self.first is not None else []
        found += [str(drift) for drift in self.drifts]
        if self.unfinished:
            found.append(f"the recording of {named(self.unfinished)} has no end")
        if self.missing:
            found.append(f"no recording of {named(self.missing)}")
        return tuple(found)

    def __str__(self) -> str:
        head = f"{len(self.ranks)} of {self.count} ranks"
        return "; ".join((head, *(self.lines() or ("they agree",))))


def named(ranks: Sequence[int]) -> str:
    """Return ranks in words, the first few of many."""
    shown = ", ".join(map(str, ranks[:MOST_NAMED]))
    more = f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
