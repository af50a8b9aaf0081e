"""The step that is like those before: what happens at its hooks in as few operations as can be.

Between two steps of a loop the caches of the processor have filled with other things, so that every function of
ours is read from memory again: what counts is how many there are, not what they do. Nothing is measured here that
is not measured there, in ``Session``, and nothing else (a test compares the two recordings).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.optim import Entry
from neuraldbg.capture.provenance import params_near
from neuraldbg.capture.reduce import PROBES, unless
from neuraldbg.capture.remote import Remote
from neuraldbg.capture.tick import Tick

__all__ = ["Shortcut"]

# Losses that have arrived from a device are looked at once in so many steps.
LOOKED_EVERY = 4


class Shortcut(Remote):
    """A session that goes the short way through steps that are not sampled and like those before.

    These have one optimizer, one backward pass from one number, and gradients that are gone before it. Whatever
    is otherwise goes the long way, hook by hook.
    """

    # The optimizer of such steps; None while the long way is taken.
    _usual_entry: Entry | None = None
    # Parameters without a gradient before a backward pass, those with one after it, and the probe.
    _clear: Sequence[Tensor] = ()
    _signs: Sequence[Tensor] = ()
    _probe: Tensor | None = None
    _index = (-1,)
    # On a device, parameters whose gradients are looked at: what is not finite shows in one of them.
    _sentinels: Sequence[int] = ()
    # Whether the last backward pass began the short way and its end was not seen to yet; what it began from.
    _began = False
    _root: Tensor | None = None

    def release(self) -> None:
        """Let go of the model."""
        self._usual_entry = self._probe = self._root = None
        self._clear = self._signs = ()
        super().release()

    def _switch(self) -> None:
        super()._switch()
        self._usual_entry = None if self._tick.sampled else self._book.only()
        if (entry := self._usual_entry) is None:
            return
        self._signs = self._grads.signs()
        index, self._probe = self._grads.probed(self._watch.place)
        self._index = (index,)
        self._sentinels = self._grads.sentinels(index) if self.far and index >= 0 else ()
        asked = [p for own in entry.by_group for p in [p for p in own if p.requires_grad][:PROBES]]
        self._clear = (*self._signs, *asked)
        if not self._signs or self._probe is None:
            self._usual_entry = None

    def forward_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An entry module was called."""
        if self._usual_entry is None:
            super().forward_begins(args, kwargs)
        elif torch.is_grad_enabled():
            tick = self._tick
            if tick.inputs_seen:
                tick.more_inputs = True
            else:
                self._inputs.take(tick, args, kwargs)

    def backward_begins(self, tensors: Sequence[Tensor]) -> None:
        """``backward`` was called; its graph is whole."""
        if self._began:
            self._settle()
        entry, root = self._usual_entry, tensors[0]
        self.deferred = False
        if (
            entry is None
            or len(tensors) != 1
            or type(root) is not Tensor
            or root.numel() != 1
            or self._tick.backwards
            or self.amp.scale is not None
            or self._step.entry is not None
        ):
            super().backward_begins(tensors)
            return
        for parameter in self._clear:
            if parameter.grad is not None:
                super().backward_begins(tensors)
                return
        self._began = entry.cleared = True
        entry.backwards += 1
        # Nothing of ours has to be done between here and the step, unless gradients are known to change there.
        self.deferred = not self._meter.rewritten
        self._root = root if self.deferred else None
        if root.is_cuda:
            self._pending = self._hindsight.peek.send(root)
            return
        self._pending = value = root.item()
        recent = self._incidents.recent
        if recent.left and recent.low <= value <= recent.high:
            recent.left -= 1
            recent.values.append(value)
        else:
            self._judge(value, root)

    def backward_ends(self) -> None:
        """``backward`` returned; gradients have been accumulated."""
        if self._began:
            self._settle()
        else:
            super().backward_ends()

    def end(self, exception: BaseException | None) -> None:
        """Close the last, possibly unfinished step and note how the run ended."""
        if self._began:
            self._settle()
        super().end(exception)

    def _close(self) -> None:
        if self._began:
            self._settle()
        super()._close()

    def _settle(self) -> None:
        """Take the backward pass that ended, if it did; by now its gradients may have been thrown away."""
        self._began = False
        loss, self._pending = self._pending, None
        root, self._root = self._root, None
        if root is not None and not self._listener.has_ended:
            # It raised.
            return
        for parameter in self._signs:
            if parameter.grad is not None:
                break
        else:
            near = () if root is None or root.grad_fn is None else params_near(root.grad_fn)
            if self._blueprint.param_of.keys().isdisjoint(near):
                # It went into another model.
                self._grads.missed()
                self._usual_entry = None
                return
        tick = self._tick
        tick.backwards = 1
        self._seen_backward = True
        if loss is not None:
            tick.take(loss)
        if self._meter.rewritten:
            self._arm_if(self._step.backward_ended(tick, None))

    def optimizer_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        if self._began:
            self._settle()
        entry = self._usual_entry
        if entry is not None and self._probe is not None and entry.ref() is optimizer:
            gradient = self._probe.grad
            if (
                type(gradient) is Tensor
                and gradient.dtype is torch.float32
                and gradient.layout is torch.strided
                and not gradient.requires_grad
                and len(optimizer.param_groups) == entry.groups
                and self.amp.scale is None
                and self._side is None
            ):
                tick = self._tick
                if self.far:
                    if (found := self._grads.stacked(self._sentinels)) is not None:
                        self._step.entry, tick.probe = entry, self._index[0]
                        tick.grad_index, tick.grad = self._sentinels, found
                        return
                elif math.isfinite(norm := torch.linalg.vector_norm(gradient).item()):
                    self._step.entry = entry
                    tick.grad_index, tick.grad = self._index, (norm,)
                    return
        super().optimizer_begins(optimizer)
        if entry is not None and self._book.only() is not entry:
            self._usual_entry = None

    def optimizer_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        entry, tick = self._usual_entry, self._tick
        if (
            entry is None
            or self._step.entry is not entry
            or self._step.evaluations
            or self.amp.scale is not None
            or not entry.backwards
            or entry.ref() is not optimizer
        ):
            super().optimizer_ends(optimizer)
            return
        self._step.entry = None
        self.amp.stepped = tick.stepped = True
        for group, rate in zip(optimizer.param_groups, entry.rates, strict=False):
            if group.get("lr") is not rate:
                self._book.settings(entry, closely=False)
                if entry.restless:
                    self._usual_entry = None
                break
        tick.keys, tick.settings = entry.keys, entry.values
        tick.run["residual"] = 0.0 if entry.cleared is True else unless(entry.cleared)
        entry.steps, entry.backwards, entry.cleared = entry.steps + 1, 0, False
        if self.far and self.steps % LOOKED_EVERY == 0:
            self._arm_if(self._hindsight.look())
        following, rhythm = self.steps + 1, self._rhythm
        if (
            tick.backwards != 1
            or tick.settings is not self._settings
            or not rhythm.until <= following < rhythm.due
        ):
            self._close()
            return
        waiting = self.rows.waiting
        waiting.append(tick)
        self.steps = self.notes.step = following
        self._seen_backward = False
        self._tick = Tick(following, sampled=False, traced=False)
        if len(waiting) >= self.rows.together:
            self._flush()
