"""How closely gradients are measured in one step: a probe, or all of them when it matters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from neuraldbg.capture.gradients import Gradients, together
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.reduce import stack_together
from neuraldbg.capture.tick import Tick

__all__ = ["GradientMeter"]


class GradientMeter:
    """Writes gradient norms into ticks; what it returns is whether they are bad.

    Parameters
    ----------
    gradients
        Where they are read.
    incidents
        Judges the first that is not finite.
    watch
        Knows the order of the layers.

    Attributes
    ----------
    far
        Whether they live on a device, where reading one would stall it: they are judged later.
    rewritten
        Whether gradients were seen to change between a backward pass and the step that used them: clipping
        does that, and spreads one bad entry over all of them.
    """

    def __init__(self, gradients: Gradients, incidents: Incidents, watch: LayerWatch) -> None:
        self.rewritten = self.far = False
        self._gradients = gradients
        self._incidents = incidents
        self._watch = watch

    def take_raw(self, tick: Tick, scale: Tensor | float | None) -> bool:
        """Measure the whole before clipping, which would spread one bad entry over all gradients.

        Parameters
        ----------
        tick
            The step.
        scale
            Factor that a gradient scaler put on the loss, None without one. Its search for a factor makes
            gradients overflow now and then: these are not measured and not judged.
        """
        indices, found = self._gradients.everyone()
        raw = together(found)
        if scale is not None:
            raw, tick.scaled = raw / scale, True
            if not self.far and not math.isfinite(raw):
                return False
        elif not self.rewritten:
            self._gradients.leave()
        tick.run["grad_norm_raw"] = raw
        if self.far:
            self._keep_raw(tick, indices, found)
            return False
        return not math.isfinite(raw) and self._judge(tick, indices, found)

    @staticmethod
    def _keep_raw(tick: Tick, indices: Sequence[int], found: Sequence[Tensor]) -> None:
        # Of several backward passes of a step the last one has the gradients of all.
        if found:
            tick.raw_index, tick.raw = indices, stack_together(found)

    def probe_raw(self, tick: Tick, scale: Tensor | float | None) -> bool:
        """Look before clipping on a step that is not sampled: at a probe, and at all if it is bad.

        Parameters
        ----------
        tick, scale
            As in ``take_raw``: what overflows behind a scaler is none of ours.
        """
        if scale is not None:
            return False
        if self.far:
            self._keep_raw(tick, *self._gradients.everyone())
            return False
        _, norm = self._gradients.probe(self._watch.place)
        return not math.isfinite(norm) and self._judge(tick, *self._gradients.everyone())

    def take(self, tick: Tick, scale: Tensor | None = None, *, are_used: bool = True) -> bool:
        """Measure all norms on a sampled step, else that of a probe.

        A NaN born anywhere in a backward pass reaches the layers nearest the input, so a probe there sees
        it; then all are measured in the same step.

        Parameters
        ----------
        tick
            The step.
        scale
            Factor that a fused optimizer is about to take out of its gradients, None if there is none.
        are_used
            Whether a step begins that uses them as they are; a loop may still clip what a backward pass left.
        """
        if tick.sampled or self.far or scale is not None:
            return self._take_all(tick, scale, are_used=are_used)
        index, norm = self._gradients.probe(self._watch.place)
        if index < 0:
            return False
        tick.grad_index, tick.grad = (index,), (norm,)
        return not math.isfinite(norm) and self._take_all(tick, None)

    def take_of(self, tick: Tick, indices: Sequence[int]) -> None:
        """Measure the gradients of an optimizer that steps as soon as they are there."""
        if not (tick.sampled or tick.grad is None):
            return
        mine, found = self._gradients.of(indices)
        tick.grad_index = (*tick.grad_index, *mine)
        if self.far:
            parts = found if tick.grad is None else [*tick.grad, *found]
            tick.grad = stack_together(parts) if parts else None
            return
        before = () if tick.grad is None else tick.grad
        tick.grad = (*before, *(norm.item() for norm in found))

    def _take_all(self, tick: Tick, scale: Tensor | None, *, are_used: bool = True) -> bool:
        indices, found = self._gradients.everyone()
        if not found:
            return False
        if scale is not None:
            # The optimizer takes the factor out itself, and skips the step if need be.
            found, tick.scaled = [norm / scale for norm in found], True
        tick.grad_index, tick.grad = indices, stack_together(found)
        if tick.sampled and are_used:
            self._compare(tick, together(found))
        if self.far:
            tick.probe = self._gradients.probe_of(self._watch.place)
            return False
        return scale is None and self._judge(tick, indices, found)

    def _compare(self, tick: Tick, used: Tensor | float) -> None:
        """Note the norm that an optimizer uses, and whether it is that of the gradients left for it."""
        tick.run["grad_norm_used"] = used
        if not self.rewritten:
            # A write through ``.data`` shows in the norm only, and a clip that left all as it was only as a write.
            written = self._gradients.rewritten()
            self.rewritten = written or (
                not self.far and bool(tick.run.get("grad_norm_raw", used) != used)
            )

    def _judge(self, tick: Tick, indices: Sequence[int], found: Sequence[Tensor]) -> bool:
        sizes = dict(zip(indices, stack_together(found).tolist(), strict=True))
        return self._incidents.judge_gradients(tick.step, sizes, self._watch.order)
