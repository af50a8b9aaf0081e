"""A session in which steps like those before are noted and nothing more, and worked out many at a time."""

from __future__ import annotations

import torch

from neuraldbg.capture.optim import Entry
from neuraldbg.capture.quiet import Row
from neuraldbg.capture.reduce import unseen
from neuraldbg.capture.shortcut import Shortcut
from neuraldbg.capture.tick import Tick
from neuraldbg.records.recording import Recording

__all__ = ["Quietly"]

# To begin takes as long as a few steps save; after a try that did not last it is put off by so many.
WORTHWHILE, PATIENCE = 4, 8


class Quietly(Shortcut):
    """A session that says when ``Quiet`` may begin, and takes over from it.

    What it does with the rows of such steps is what ``Shortcut`` does in each of them.
    """

    # A try to note steps only began at this one, may end at that one, and is not made before the third.
    _tried = _planned = _not_before = 0

    def _close_as_usual(self, entry: Entry, optimizer: torch.optim.Optimizer) -> None:
        super()._close_as_usual(entry, optimizer)
        if self.steps >= self._not_before and self._usual_entry is entry:
            self._be_quiet(entry)

    def _be_quiet(self, entry: Entry) -> None:
        """Note the next steps and nothing more, as long as they are like the one that ended."""
        rhythm, probe, quiet = self._rhythm, self._probe, self.quiet
        last = 0 if self.steps < rhythm.until else rhythm.due - 1 - self.steps
        waiting = self.rows.together - len(self.rows.waiting)
        keeps = self._kept.room
        left = min(self._inputs.space, last, waiting, self._kept.space if keeps else waiting)
        if (
            left < WORTHWHILE
            or probe is None
            or quiet.module is None
            or entry.restless
            or not self._told_late
            or self._meter.rewritten
            or self.amp.scale is not None
            or self._side is not None
        ):
            return
        self._tried, self._planned = self.steps, self.steps + left
        first = self.steps if self.far else None
        quiet.begin(left, entry, probe, self._clear, keeps=keeps, far=first)

    def go_on(self) -> None:
        """As many steps were noted as may be: see to them, and note the next ones."""
        entry = self._usual_entry
        full = not self._inputs.space or (self._kept.room and not self._kept.space)
        if self.rows.many or (full and not self.far):
            self._flush()
        elif full:
            # Where they live, and nobody waits for that.
            self._inputs.settle()
            self._kept.settle()
        if entry is not None:
            self._be_quiet(entry)

    def catch_up(self) -> None:
        """Work out the steps that were only noted so far."""
        quiet, entry = self.quiet, self.quiet.entry
        if not quiet.rows or entry is None:
            return
        while quiet.rows:
            self._put(quiet.rows.popleft(), entry)
        tick = Tick(self.steps, sampled=False, traced=False)
        tick.more_inputs, self._tick = self._tick.more_inputs, tick

    def _put(self, row: Row, entry: Entry) -> None:
        value, batch, written, gradient, seen, settings = row
        tick = Tick(self.steps, sampled=False, traced=False)
        tick.losses, tick.backwards, tick.stepped = (value,), 1, True
        tick.keys, tick.settings = entry.keys, settings
        tick.run["residual"] = 0.0
        if batch is None:
            self._inputs.name(tick)
        else:
            self._inputs.hold(tick, batch, written)
        tick.grad_index = self._index
        if isinstance(gradient, float):
            tick.grad = (gradient,)
        elif self.far and not self.quiet.keeps:
            tick.grad = gradient
        else:
            self._kept.hold(tick, gradient, seen)
        self.rows.waiting.append(tick)
        entry.steps += 1
        self.steps = self.notes.step = self.steps + 1

    def wake(self) -> None:
        """A step is not like those before, or nothing more may be noted: go on from where it is."""
        quiet = self.quiet
        if not quiet.on:
            return
        quiet.on, quiet.left = False, 0
        with unseen():
            self.catch_up()
            if self.steps < min(self._planned, self._tried + PATIENCE):
                self._not_before = self.steps + PATIENCE
            if quiet.alarm:
                quiet.alarm = False
                self._rhythm.arm(self.steps)
            if quiet.copies and quiet.noted is not None:
                self._inputs.see_again(self._tick, quiet.noted[0][0])
                quiet.noted = None
            entry, root = quiet.entry, quiet.root
            if entry is None or root is None:
                return
            # A backward pass has begun.
            quiet.root = quiet.batch = None
            self._see_to_noted()
            entry.cleared, entry.backwards = True, entry.backwards + 1
            self._began = self.deferred = True
            self._pending, self._root = quiet.value, root

    def pause(self) -> None:
        """Take hooks and modes away."""
        try:
            self.wake()
        finally:
            super().pause()
        self._not_before = 0

    def recording(self) -> Recording:
        """Return everything seen so far, or since the last part, as one frozen value."""
        if self.quiet.noted is None:
            self.catch_up()
        else:
            # In the middle of a step: what was noted of it is not to be taken for all of it.
            self.wake()
        return super().recording()
