"""When to look closely: a dense start, a regular rhythm, and windows armed by an anomaly."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rhythm", "Schedule", "is_sampled"]

# How far ahead the next sampled step is looked for.
AHEAD = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rhythm of sampled steps: as many in every octave of the run as in the one before.

    A step that is looked at closely takes half as long again, or twice as long; so many of them and no more
    keep a run of a thousand steps within a few per cent of its time.

    Attributes
    ----------
    dense
        Every step below this one is sampled: initial faults show before anything is learnt.
    share
        After that sampled steps lie at most this share of the steps so far apart. What happened in between is
        told to the step by the loss and by the norm of a gradient near the input, which are read at every one.
    every
        But never closer than this …
    sparsest
        … nor further apart than this. The distances are these numbers and powers of two times ``every``, so
        that the grid of a sparser rhythm lies inside that of the denser one.
    traced, traced_every
        Every step below the first one, and of the sampled steps after it every so many, also watch the user's
        own functions: a graph of layers does not change, and the arguments of a loss change slowly.
    traced_every_compiled
        The same for programs with compiled parts, whose layers are read in traced steps only; there all of the
        dense start is traced.
    armed
        How many steps are sampled densely after an anomaly.
    armed_most, armed_share
        No more steps than this are armed in all, and no larger share of the run: a loss that jumps all the
        time is no reason to look closely all the time.
    """

    dense: int = 10
    share: float = 0.2
    every: int = 1
    sparsest: int = 512
    traced: int = 3
    traced_every: int = 8
    traced_every_compiled: int = 3
    armed: int = 8
    armed_most: int = 24
    armed_share: float = 0.01


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
    return step % _interval(schedule, step) == 0


def _interval(schedule: Schedule, step: int) -> int:
    """Return the distance of sampled steps: ``every``, doubled until it would pass the share of the run."""
    interval = schedule.every
    while 2 * interval <= min(schedule.share * step, schedule.sparsest):
        interval *= 2
    return interval


@dataclass(slots=True)
class Rhythm:
    """Walks through a schedule, one step at a time.

    Attributes
    ----------
    until
        First step that is no longer armed.
    due
        No step from that one to this is sampled, unless armed meanwhile.
    """

    schedule: Schedule
    until: int = 0
    _spent: int = 0
    _since_traced: int = 0
    due: int = 0

    def arm(self, step: int) -> None:
        """Something happened at this step: look closely for a while, within what may be spent."""
        schedule = self.schedule
        if self._spent <= schedule.armed_most + schedule.armed_share * step:
            until = step + 1 + schedule.armed
            self._spent += until - max(self.until, step + 1)
            self.until = max(self.until, until)

    def next(self, step: int, *, compiled: bool = False) -> tuple[bool, bool]:
        """Return whether the step is sampled, and whether it is also traced; asked once for every step.

        Parameters
        ----------
        step
            Optimizer step.
        compiled
            Whether parts of the program are compiled.
        """
        if self.until <= step < self.due:
            return False, False
        if not is_sampled(self.schedule, step, self.until):
            # Walking ahead is cheaper than asking the schedule at every step.
            self.due = step + 1
            while not is_sampled(self.schedule, self.due, 0) and self.due < step + AHEAD:
                self.due += 1
            return False, False
        self._since_traced += 1
        schedule = self.schedule
        first = max(schedule.traced, schedule.dense) if compiled else schedule.traced
        often = schedule.traced_every_compiled if compiled else schedule.traced_every
        traced = step < first or self._since_traced >= often
        if traced:
            self._since_traced = 0
        return True, traced
