"""What is judged late because it lives on a device: losses as they arrive, gradients when they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.landing import land
from neuraldbg.capture.peek import Late, Peek
from neuraldbg.capture.tick import Tick

__all__ = ["Hindsight"]


class Hindsight:
    """Looks at steps after they are over, in their order, as ``Session`` looks at them while they last.

    What needs the graph of a loss is not known here: it is gone.

    Parameters
    ----------
    incidents
        Told what happened.

    Attributes
    ----------
    peek
        Sends for losses.
    """

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self.peek = Peek()

    def look(self) -> bool:
        """Judge the losses that have arrived; return whether one calls for a closer look.

        One that is not finite is left for ``judge``: what came before it has to be known first.
        """
        alarm = False
        for late in self.peek.arrived():
            if late.step >= 0:
                alarm = self._judge(late) or alarm
        return alarm

    def _judge(self, late: Late) -> bool:
        value = late.value
        if value is None or not math.isfinite(value):
            return True
        late.judged = True
        return self._incidents.judge_loss(late.step, value, None)

    def land(self, ticks: Sequence[Tick], order: Sequence[int]) -> bool:
        """Bring the numbers of ticks to the host and judge them; return whether any call for a closer look.

        Parameters
        ----------
        ticks
            Closed steps, oldest first.
        order
            Layers in the order of execution.
        """
        if not ticks:
            return False
        well = land(ticks)
        self.peek.arrived(all_are=True)
        alarms = [self._look_back(tick, order, well=well) for tick in ticks]
        return any(alarms)

    def _look_back(self, tick: Tick, order: Sequence[int], *, well: bool) -> bool:
        incidents, alarm = self._incidents, False
        if tick.run.get("input_nonfinite"):
            incidents.bad_input(tick.step)
        for loss in tick.losses:
            if isinstance(loss, Late) and loss.value is not None and not loss.judged:
                alarm = incidents.judge_loss(tick.step, loss.value, None) or alarm
        tick.losses = tuple(map(_number, tick.losses))
        if well or tick.scaled:
            _thin(tick)
            return alarm
        # Before anybody clipped, then what the step used: a clip spreads one bad entry over all.
        for index, norms in ((tick.raw_index, tick.raw), (tick.grad_index, tick.grad)):
            if isinstance(norms, np.ndarray) and not np.isfinite(norms).all():
                sizes = dict(zip(index, norms.tolist(), strict=True))
                return incidents.judge_gradients(tick.step, sizes, order) or alarm
        _thin(tick)
        return alarm


def _number(loss: Late | float) -> float:
    found = loss.value if isinstance(loss, Late) else float(loss)
    return math.nan if found is None else found


def _thin(tick: Tick) -> None:
    """Of gradients that were all well a probe is recorded, as it is without a device."""
    if not tick.sampled and isinstance(tick.grad, np.ndarray) and tick.probe in tick.grad_index:
        place = tick.grad_index.index(tick.probe)
        tick.grad_index, tick.grad = (tick.probe,), (tick.grad[place].item(),)
