"""When to look closely: a dense start, a regular rhythm, and windows armed by an anomaly."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule", "is_sampled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rhythm of sampled steps.

    Attributes
    ----------
    dense
        Every step below this one is sampled: initial faults show before anything is learnt.
    early, early_every
        Below ``early`` every ``early_every``-th step.
    every
        After that every ``every``-th step …
    share
        … or, later in the run, at least this share of the steps so far apart: an onset is asked for to
        within 5 % of its step, which 3 % keeps.
    sparsest
        Never further apart than this.
    armed
        How many steps are sampled densely after an anomaly.
    """

    dense: int = 24
    early: int = 160
    early_every: int = 4
    every: int = 10
    share: float = 0.03
    sparsest: int = 100
    armed: int = 8


def is_sampled(schedule: Schedule, step: int, armed_until: int) -> bool:
    """Return whether a step is sampled.

    Parameters
    ----------
    schedule
        The rhythm.
    step
        Optimizer step.
    armed_until
        First step that is no longer armed by an anomaly.
    """
    if step < schedule.dense or step < armed_until:
        return True
    if step < schedule.early:
        return step % schedule.early_every == 0
    return step % _interval(schedule, step) == 0


def _interval(schedule: Schedule, step: int) -> int:
    """Return the distance of sampled steps: ``every`` doubled until it passes the share of the run.

    Doubling keeps the grid of a sparser rhythm inside that of the denser one.
    """
    interval = schedule.every
    while 2 * interval <= min(schedule.share * step, schedule.sparsest):
        interval *= 2
    return interval
