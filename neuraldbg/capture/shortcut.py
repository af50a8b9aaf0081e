"""The step that is like those before: what happens at its hooks in as few operations as can be.

Between two steps of a loop the caches of the processor have filled with other things, so that every function of
ours is read from memory again: what counts is how many there are, not what they do. Nothing is measured here that
is not measured there, in ``Session``, and nothing else (a test compares the two recordings).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.engine import Listener
from neuraldbg.capture.later import KeptGradients
from neuraldbg.capture.optim import Entry
from neuraldbg.capture.provenance import leads_to
from neuraldbg.capture.quiet import Quiet
from neuraldbg.capture.reduce import PROBES, UNTRACED, unless
from neuraldbg.capture.remote import Remote
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.shards import PLAIN
from neuraldbg.capture.stepping import has_inner_steps
from neuraldbg.capture.tick import Tick

__all__ = ["Shortcut"]


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
    # Whether the last backward pass began the short way and its end was not seen to yet; what it began from.
    _began = False
    _root: Tensor | None = None
    # Whether the optimizer was seen to leave gradients as they are: then they are looked at when it has stepped,
    # and that it begins is not told.
    _leaves_gradients = False
    _told_late = False

    def __init__(
        self, model: nn.Module, schedule: Schedule, guard: Callable[..., None], listener: Listener
    ) -> None:
        super().__init__(model, schedule, guard, listener)
        self._kept = KeptGradients(self._grads, self._incidents, self._watch)
        self.quiet = Quiet(
            listener, self._book, self._inputs, self._incidents.recent, self._hindsight
        )

    def release(self) -> None:
        """Let go of the model."""
        self._kept.release()
        self.quiet.release()
        self._usual_entry = self._probe = self._root = None
        self._clear = self._signs = ()
        super().release()

    def _switch(self) -> None:
        self._arm_if(self._kept.settle())
        super()._switch()
        if self.far:
            self._leaves_gradients = self._hindsight.leaves_gradients
        entry = None if self._tick.sampled else self._book.only()
        optimizer = None if entry is None else entry.ref()
        if entry is None or optimizer is None or has_inner_steps(optimizer):
            self._go_the_long_way()
            return
        self._signs = self._grads.signs()
        index, self._probe = self._grads.probed(self._watch.place)
        self._index = (index,)
        self._kept.watch(index if self._leaves_gradients else -1, far=self.far)
        if self.far:
            self._follow(index, left_alone=self._leaves_gradients and self._kept.left_alone)
        asked = [p for own in entry.by_group for p in [p for p in own if p.requires_grad][:PROBES]]
        # The probe is among those that have no gradient before a pass: one after it says that it came here.
        clear = {id(p): p for p in (self._probe, *self._signs, *asked) if p is not None}
        self._clear = tuple(clear.values())
        if not self._signs or self._probe is None or not all(type(p) in PLAIN for p in self._clear):
            self._go_the_long_way()
            return
        self._usual_entry, self._told_late = entry, self._leaves_gradients
        self._listener.await_steps(beginnings=not self._told_late)

    def _go_the_long_way(self) -> None:
        """The next steps are not like those before."""
        self._usual_entry, self._told_late = None, False
        self._listener.await_steps(beginnings=True)

    def note_call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """An entry module is called; return whether its batch can be looked at later, and is remembered."""
        if self._usual_entry is None:
            return False
        if not self._inputs.keeps:
            if not self._tick.inputs_seen:
                self.quiet.module = module
            return False
        if torch.is_grad_enabled():
            if self.quiet.noted is None and not self._tick.inputs_seen:
                self.quiet.module, self.quiet.noted = module, (args, kwargs)
            else:
                # Not like the steps before, unless these were not either.
                self._tick.more_inputs, self.quiet.left = True, 0
        return True

    def note_region(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """A compiled part is called; return whether nothing more has to be done now."""
        region = None if self._usual_entry is None else self.parts.known(module)
        if region is None or not region.is_called:
            return False
        if not region.is_entry and (self.quiet.noted is not None or self._tick.inputs_seen):
            return True
        region.is_entry = True
        return self.note_call(module, args, kwargs)

    def _see_to_noted(self) -> None:
        """Look at the batch of the call that was noted, if there is one."""
        noted, self.quiet.noted = self.quiet.noted, None
        if noted is not None and (noted[1] or not self._inputs.keep(self._tick, noted[0])):
            with UNTRACED():
                self._inputs.take(self._tick, *noted)

    def forward_short(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """An entry module was called; return whether that was seen to the short way."""
        self._see_to_noted()
        if self._usual_entry is None:
            return False
        if not torch.is_grad_enabled():
            return True
        tick = self._tick
        if tick.inputs_seen:
            tick.more_inputs = True
            return True
        return not kwargs and self._inputs.keep(tick, args)

    def region_short(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """A compiled part was called; return whether that was seen to the short way."""
        self._see_to_noted()
        region = None if self._usual_entry is None else self.parts.known(module)
        if region is None or not region.is_called:
            return False
        region.is_entry = region.is_entry or not self._tick.inputs_seen
        return not region.is_entry or self.forward_short(args, kwargs)

    def forward_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An entry module was called."""
        if self._usual_entry is None:
            super().forward_begins(args, kwargs)
        elif torch.is_grad_enabled():
            self._inputs.take(self._tick, args, kwargs)

    def backward_short(self, tensors: Sequence[Tensor]) -> bool:
        """``backward`` was called; return whether that was seen to the short way."""
        self._see_to_noted()
        entry, root = self._usual_entry, tensors[0]
        self.deferred = False
        if (
            entry is None
            or self._began
            or len(tensors) != 1
            or type(root) is not Tensor
            or root.numel() != 1
            or root.is_meta
            or self._tick.backwards
            or self.amp.scale is not None
            or self._step.entry is not None
        ):
            return False
        for parameter in self._clear:
            if parameter.grad is not None:
                return False
        self._began = entry.cleared = True
        entry.backwards += 1
        # Nothing of ours has to be done between here and the step, unless gradients are known to change there.
        self.deferred = not self._meter.rewritten
        self._root = root if self.deferred else None
        if root.is_cuda:
            self._pending = self._hindsight.peek.send(root)
            return True
        self._pending = value = root.item()
        recent = self._incidents.recent
        if recent.left and recent.low <= value <= recent.high:
            recent.left -= 1
            recent.values.append(value)
        else:
            with UNTRACED():
                self._judge(value, root)
        return True

    def backward_begins(self, tensors: Sequence[Tensor]) -> None:
        """``backward`` was called; its graph is whole."""
        if self._began:
            self._settle()
            if self.backward_short(tensors):
                return
        # What is kept may be about to be added to.
        self._arm_if(self._kept.settle())
        super().backward_begins(tensors)

    def backward_ends(self) -> None:
        """``backward`` returned; gradients have been accumulated."""
        if self._began:
            self._settle(ended=True)
        else:
            super().backward_ends()

    def end(self, exception: BaseException | None) -> None:
        """Close the last, possibly unfinished step and note how the run ended."""
        if self._began:
            self._settle()
        super().end(exception)

    def _close(self) -> None:
        self._see_to_noted()
        if self._began:
            self._settle()
        super()._close()

    def _judge(self, value: float, root: Tensor) -> None:
        if not math.isfinite(value):
            # Gradients of the steps before come first.
            self._arm_if(self._kept.settle())
        super()._judge(value, root)

    def _flush(self) -> None:
        self._arm_if(self._kept.settle())
        super()._flush()

    def _settle(self, *, ended: bool = False) -> None:
        """Take the backward pass that ended, if it did; by now its gradients may have been thrown away."""
        self._began = False
        loss, self._pending = self._pending, None
        root, self._root = self._root, None
        if not ended and not self._listener.has_ended:
            # It raised.
            return
        for parameter in self._signs:
            if parameter.grad is not None:
                break
        else:
            node = None if root is None else root.grad_fn
            if not leads_to(node, self._blueprint.param_of):
                # It went into another model.
                self._grads.missed()
                self._go_the_long_way()
                return
        tick = self._tick
        tick.backwards = 1
        self._seen_backward = True
        if loss is not None:
            tick.take(loss)
        if self._meter.rewritten and not (self.far and self._hindsight.trail.note(tick.step)):
            self._arm_if(self._step.backward_ended(tick, None))

    def optimizer_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        if self._began:
            self._settle()
        entry = self._usual_entry
        if (
            entry is not None
            and self._probe is not None
            and entry.ref() is optimizer
            and len(optimizer.param_groups) == entry.groups
            and self.amp.scale is None
            and self._side is None
            and self._measured(self._probe.grad)
        ):
            self._step.entry = entry
            return
        super().optimizer_begins(optimizer)
        if entry is not None and self._book.only() is not entry:
            self._go_the_long_way()

    def _measured(self, gradient: Tensor | None) -> bool:
        """See to the gradient of the probe in the shortest way; return whether there is one."""
        if type(gradient) is not Tensor or gradient.requires_grad:
            return False
        tick = self._tick
        if self.far and not self._note_there(tick):
            return False
        if self._kept.room:
            tick.grad_index = self._index
            if self._kept.put(tick, gradient):
                with UNTRACED():
                    self._arm_if(self._kept.settle())
        elif self.far:
            noted = not self._meter.rewritten
            tick.grad_index, tick.grad = self._index, self._hindsight.trail.norm(noted=noted)
            return tick.grad is not None
        elif gradient.dtype is not torch.float32 or gradient.layout is not torch.strided:
            return False
        else:
            norm = torch.linalg.vector_norm(gradient).item()
            if not math.isfinite(norm):
                return False
            tick.grad_index, tick.grad = self._index, (norm,)
        return True

    def _is_probe_left(self) -> bool:
        """Return whether the gradient of the probe is what it was when the optimizer began its step."""
        tick = self._tick
        if self._step.evaluations or tick.scaled or tick.grad is None:
            return False
        if self.far:
            return self._ask_whether_left(tick)
        return self._grads.is_left(self._watch.place, tick.grad_index, tick.grad)

    def step_short(self, optimizer: torch.optim.Optimizer) -> bool:
        """An optimizer has stepped; return whether its step and the pass before it were seen to the short way."""
        entry, probe = self._usual_entry, self._probe
        if (
            not self._told_late
            or not self._began
            or entry is None
            or probe is None
            or entry.ref() is not optimizer
            or len(optimizer.param_groups) != entry.groups
            or self.amp.scale is not None
            or self._side is not None
            or self._root is None
            or not self._listener.has_ended
            or not self._measured(probe.grad)
        ):
            return False
        tick, loss = self._tick, self._pending
        self._began, self._pending, self._root = False, None, None
        tick.backwards = 1
        if loss is not None:
            tick.losses = (loss,)
        self._close_as_usual(entry, optimizer)
        return True

    def optimizer_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        if self._told_late:
            self.optimizer_begins(optimizer)
        elif self._tick.sampled and self._step.entry is not None:
            self._leaves_gradients = self._is_probe_left()
        entry = self._usual_entry
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
        self._close_as_usual(entry, optimizer)

    def _close_as_usual(self, entry: Entry, optimizer: torch.optim.Optimizer) -> None:
        """End the tick of a step that was like those before."""
        tick = self._tick
        self.amp.stepped = tick.stepped = True
        for group, rate in zip(optimizer.param_groups, entry.rates, strict=False):
            if group.get("lr") is not rate:
                self._book.settings(entry, closely=False)
                if entry.restless:
                    self._go_the_long_way()
                break
        tick.keys, tick.settings = entry.keys, entry.values
        tick.run["residual"] = 0.0 if entry.cleared is True else unless(entry.cleared)
        entry.steps, entry.backwards, entry.cleared = entry.steps + 1, 0, False
        following, rhythm = self.steps + 1, self._rhythm
        if tick.settings is not self._settings:
            self._settings = tick.settings
            if self._book.rate_jumped(tick.keys, tick.settings):
                rhythm.arm(following)
        if tick.backwards != 1 or not rhythm.until <= following < rhythm.due:
            with UNTRACED():
                self._close()
            return
        waiting = self.rows.waiting
        waiting.append(tick)
        self.steps = self.notes.step = following
        self._seen_backward = False
        self._tick = Tick(following, sampled=False, traced=False)
        if len(waiting) >= self.rows.together and self.rows.many:
            with UNTRACED():
                self._flush()
