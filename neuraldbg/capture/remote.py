"""What is otherwise where numbers live on a device: nothing waits for it but one look at a sampled step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from neuraldbg.capture.engine import Listener
from neuraldbg.capture.hindsight import Hindsight
from neuraldbg.capture.landing import land
from neuraldbg.capture.peek import Late
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.session import Session

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
