"""What is otherwise where numbers live on a device: nothing waits for it but one look at a sampled step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from neuraldbg.capture.engine import Listener
from neuraldbg.capture.hindsight import LOOKED_EVERY, PROBE_AFTER, Hindsight
from neuraldbg.capture.landing import land
from neuraldbg.capture.peek import Late
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.session import Session
from neuraldbg.capture.shards import rank_and_count
from neuraldbg.capture.tick import Tick

__all__ = ["Remote"]


class Remote(Session):
    """A session that leaves numbers on their device until a sampled step, and judges them then.

    At the backward pass of a sampled step everything that waits is fetched, the loss of that step among it:
    its graph is whole, so that a first NaN can be traced there as it is without a device.
    """

    def __init__(
        self, model: nn.Module, schedule: Schedule, guard: Callable[..., None], listener: Listener
    ) -> None:
        super().__init__(model, schedule, guard, listener)
        self._hindsight = Hindsight(self._incidents)
        _, count = rank_and_count()
        self._hindsight.peek.holds = count == 1

    def begin(self, discover: Callable[[nn.Module], None], forget: Callable[[int], None]) -> None:
        """Measure the untouched weights and wait for the first step."""
        super().begin(discover, forget)
        self._find_device()

    def _find_device(self) -> None:
        """See whether the model lives on a device: it may be moved to one at any time before it is trained."""
        if not self.far and any(p.is_cuda for p in self._blueprint.tensors):
            self.far = self._meter.far = True
            self.rows.wait_longer()

    def forward_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An entry module was called."""
        if self._tick.sampled:
            self._find_device()
        super().forward_begins(args, kwargs)

    def _read(self, loss: Tensor, root: Tensor | None) -> Late | float:
        if not loss.is_cuda:
            return super()._read(loss, root)
        late = self._hindsight.peek.send(loss)
        if root is not None and self._tick.sampled and not self._tick.backwards:
            self._flush()
            if late.value is not None:
                late.judged = True
                self._judge(late.value, root)
        return late

    def _judge(self, value: float, root: Tensor) -> None:
        if self.far and not (math.isfinite(value) or self._incidents.has("nonfinite_loss")):
            # Whether the batch of this very step was bad has to be known first.
            self._inputs.settle()
            land([self._tick])
            if self._tick.run.get("input_nonfinite"):
                self._incidents.bad_input(self.steps)
        super()._judge(value, root)

    def release(self) -> None:
        """Let go of the model."""
        self._hindsight.trail.clear()
        super().release()

    def _follow(self, probe: int, *, left_alone: bool) -> None:
        """See to it that of every layer one gradient is looked at: what is not finite shows in one of them.

        Parameters
        ----------
        probe
            Index of the parameter whose norm is wanted, -1 for none.
        left_alone
            Whether the optimizer was seen to leave gradients as they are.
        """
        index = self._grads.sentinels(probe) if probe >= 0 else ()
        tensors = [self._blueprint.tensors[i] for i in index]
        left_alone = left_alone and not self._meter.rewritten
        self._hindsight.trail.follow(index, tensors, probe, left_alone=left_alone)

    def _note_there(self, tick: Tick) -> bool:
        """Note the gradients of a step, and look at the losses that have arrived; return whether they could be noted.

        Where gradients are clipped they were noted before that.
        """
        if self.steps % LOOKED_EVERY == 0:
            self._arm_if(self._hindsight.look())
        return self._meter.rewritten or self._hindsight.trail.note(tick.step)

    def _ask_whether_left(self, tick: Tick) -> bool:
        """Return whether the optimizer left the probe's gradient as it was, as far as that has landed; ask of this step."""
        probe, _ = self._grads.probed(self._watch.place)
        for norm in self._grads.of([probe])[1]:
            tick.run[PROBE_AFTER] = norm
        return self._hindsight.leaves_gradients

    def _close(self) -> None:
        if self.far:
            self._arm_if(self._hindsight.look())
        super()._close()

    def _flush(self) -> None:
        if not self.far:
            super()._flush()
            return
        self._inputs.settle()
        if self.failed:
            # What failed would fail again, now in a call of the user's.
            self.rows.waiting.clear()
        else:
            self.notes.settle()
            self._arm_if(self._hindsight.land(self.rows.waiting, self._watch.order))
        self.rows.flush()
