"""What is judged late because it lives on a device: losses as they arrive, gradients when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.landing import fetched, land
from neuraldbg.capture.peek import Late, Peek
from neuraldbg.capture.tick import Tick
from neuraldbg.capture.trail import Trail

__all__ = ["LOOKED_EVERY", "PROBE_AFTER", "Hindsight"]

# Losses that have arrived from a device are looked at once in so many steps.
LOOKED_EVERY = 4
# The norm of the probe's gradient after the optimizer has stepped, and how far it may be off that before: the two are
# worked out in other company.
PROBE_AFTER, CLOSE = "probe_after", 1e-6


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
    trail
        The gradients of the steps whose losses have not arrived.
    leaves_gradients
        Whether the optimizer was seen to leave gradients as they are, in the last sampled step that has landed.
    """

    leaves_gradients = False

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self.peek = Peek()
        self.trail = Trail()

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
        self.trail.forget(late.step)
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
        noted = {} if all(map(_is_well, ticks)) else self._noted()
        self.trail.forget(ticks[-1].step + 1)
        alarms = [
            self._look_back(tick, order, noted.get(tick.step, {}), well=well) for tick in ticks
        ]
        return any(alarms)

    def _noted(self) -> dict[int, dict[int, float]]:
        """Return the norms of the gradients that are still kept, by step and parameter; this waits for the device."""
        steps = self.trail.take()
        flat = fetched([sizes for *_, sizes in steps]).tolist() if steps else []
        numbers = iter(flat)
        return {step: dict(zip(index, numbers, strict=False)) for step, index, _ in steps}

    def _look_back(
        self, tick: Tick, order: Sequence[int], noted: Mapping[int, float], *, well: bool
    ) -> bool:
        incidents, alarm = self._incidents, False
        if tick.run.get("input_nonfinite"):
            incidents.bad_input(tick.step)
        for loss in tick.losses:
            if isinstance(loss, Late) and loss.value is not None and not loss.judged:
                alarm = incidents.judge_loss(tick.step, loss.value, None) or alarm
        tick.losses = tuple(_numbers(tick))
        if tick.sampled:
            self.leaves_gradients = _is_left(tick)
        if (well and not noted) or tick.scaled:
            _thin(tick)
            return alarm
        return self._judge_gradients(tick, order, noted) or alarm

    def _judge_gradients(
        self, tick: Tick, order: Sequence[int], noted: Mapping[int, float]
    ) -> bool:
        # Before anybody clipped, then what the step used: a clip spreads one bad entry over all.
        used = _sizes(tick.grad_index, tick.grad)
        for sizes in (noted, _sizes(tick.raw_index, tick.raw), used):
            if all(map(math.isfinite, sizes.values())):
                continue
            alone = sizes is used and len(used) == 1 and not tick.sampled
            return self._incidents.judge_gradients(tick.step, sizes, None if alone else order)
        _thin(tick)
        return False


def _is_well(tick: Tick) -> bool:
    """Return whether the losses of a step are finite, and all gradients that were measured."""
    found = tick.grad if isinstance(tick.grad, np.ndarray) else ()
    return all(math.isfinite(x) for x in (*_numbers(tick), *found))


def _sizes(index: Sequence[int], norms: object) -> dict[int, float]:
    """Return norms by parameter, if they are on the host."""
    return dict(zip(index, norms.tolist(), strict=True)) if isinstance(norms, np.ndarray) else {}


def _is_left(tick: Tick) -> bool:
    """Return whether the gradient of the probe was the same when the optimizer had stepped."""
    after = tick.run.pop(PROBE_AFTER, None)
    before = _sizes(tick.grad_index, tick.grad).get(tick.probe)
    return (
        isinstance(after, float)
        and before is not None
        and math.isclose(before, after, rel_tol=CLOSE)
    )


def _numbers(tick: Tick) -> list[float]:
    """Return the losses of a step; one that was overwritten before it was sent for is none."""
    found = [loss.value if isinstance(loss, Late) else float(loss) for loss in tick.losses]
    return [loss for loss in found if loss is not None]


def _thin(tick: Tick) -> None:
    """Of gradients that were all well a probe is recorded, as it is without a device."""
    if not tick.sampled and isinstance(tick.grad, np.ndarray) and tick.probe in tick.grad_index:
        place = tick.grad_index.index(tick.probe)
        tick.grad_index, tick.grad = (tick.probe,), (tick.grad[place].item(),)
