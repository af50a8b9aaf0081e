"""What one run looks like from its hooks: ticks, sampling, anomalies, and the recording at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.amp import Scaling, grad_scale
from neuraldbg.capture.assemble import Unseen, assembled, program_facts
from neuraldbg.capture.byhand import ByHand
from neuraldbg.capture.drawn import initial
from neuraldbg.capture.engine import Listener
from neuraldbg.capture.functionmode import ModeStack
from neuraldbg.capture.gradients import Gradients
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.inputs import InputLog
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.meter import GradientMeter
from neuraldbg.capture.notes import Notes
from neuraldbg.capture.optim import Entry, OptimizerBook
from neuraldbg.capture.parts import Parts
from neuraldbg.capture.peek import Late
from neuraldbg.capture.reduce import in_backward, scalar
from neuraldbg.capture.replay import Replay
from neuraldbg.capture.rows import Rows
from neuraldbg.capture.schedule import Rhythm, Schedule
from neuraldbg.capture.shares import Shares
from neuraldbg.capture.sites import Sites
from neuraldbg.capture.stepping import Stepping, is_inner_step, is_step_under_way
from neuraldbg.capture.strangers import Latecomers, Strangers
from neuraldbg.capture.tick import Tick
from neuraldbg.capture.topology import draw, redraw
from neuraldbg.capture.trace import Tracer
from neuraldbg.capture.turns import Turns
from neuraldbg.records.recording import Fact, Recording

__all__ = ["Session"]

# So many times the usual number of backward passes without a step are steps that are missing.
LONG_SILENCE = 4


class Session:
    """The state of one watched run; every public method is one point of the user's loop."""

    # Whether numbers live on a device, where reading one would stall it, and whether steps were captured there.
    far = captured = False
    # Whether the end of the backward pass under way need not be told: the step that uses it will see to it.
    deferred = False

    def __init__(
        self, model: nn.Module, schedule: Schedule, guard: Callable[..., None], listener: Listener
    ) -> None:
        self.steps, self.failed, self._listener = 0, "", listener
        self._model: nn.Module | None = model
        self._blueprint = draw(model)
        self._grads = Gradients(self._blueprint)
        self._facts: dict[str, Fact] = program_facts(model)
        self._book = OptimizerBook(self._blueprint, self._redraw)
        self._settings: tuple[float, ...] = ()
        self._rhythm = Rhythm(schedule)
        self._tick = Tick(0, sampled=True, traced=True)
        self._incidents = Incidents(self._blueprint)
        self.amp, self.shares, self.turns = Scaling(), Shares(), Turns(self._blueprint.param_of)
        self._inputs = InputLog(self._incidents.bad_input)
        self._outputs: set[int] = set()
        self._strangers = Strangers(self._blueprint)
        self._late = Latecomers(self._blueprint, self._incidents, self._redraw)
        self._pending: Late | float | None = None
        self._side: Late | float | None = None
        # Whether gradients came since the last step, or one among them; the most backward passes that a step has had.
        self._seen_backward, self._stepped_inside, self._usual = False, False, 2
        self.notes = Notes(self._blueprint, self._incidents, guard)
        self.rows = Rows(self.notes, self._incidents)
        self._tracer = Tracer(self.notes)
        self._modes = ModeStack(self._tracer)
        self._watch = self.notes.watch = LayerWatch(self._blueprint, self._tracer, guard)
        self._incidents.sites = Sites(model, self._blueprint, self._watch.flow.edges)
        replay = Replay(self._blueprint, self._watch, self._tracer, self.notes, guard)
        self.parts = Parts(model, listener, self._watch, self._modes, replay)
        self._meter = GradientMeter(self._grads, self._incidents, self._watch)
        self._hand = ByHand(self._blueprint, self._grads, self._meter)
        self._step = Stepping(self._book, self._grads, self._meter, self._blueprint, self._hand)

    def begin(self, discover: Callable[[nn.Module], None], forget: Callable[[int], None]) -> None:
        """Measure the untouched weights and wait for the first step."""
        self.parts.enter, self.parts.leave, self.parts.found = discover, forget, self._entry_found
        self.parts.find()
        drawn = self._blueprint
        self._tick.param = initial(drawn.params, drawn.tensors, drawn.multiplied())

    def end(self, exception: BaseException | None) -> None:
        """Close the last, possibly unfinished step and note how the run ended."""
        self._facts["finished"] = exception is None
        if exception is not None:
            self._facts["exception"] = type(exception).__name__
            self._incidents.note(self.steps, "exception", -1, {"type": type(exception).__name__})
        if self._tick.backwards and not self._book.any_seen:
            self._hand.ended(self._tick.backwards)
            self._step_by_hand()
        elif self._tick.backwards or self._tick.losses:
            self._close()
        self._flush()

    def resume(self) -> None:
        """Watch from here on."""
        self._modes.base()
        self.parts.find()
        self._switch()

    def pause(self) -> None:
        """Take hooks and modes away."""
        self._watch.live = False
        with ExitStack() as stack:
            stack.callback(self._modes.remove)
            stack.callback(self._tracer.clear)
            stack.callback(self._watch.switch_off)
            stack.callback(self.parts.regions.restore)

    def release(self) -> None:
        """Let go of the model."""
        self._watch.begin()
        self.parts.release()
        self._model = self._pending = None
        self._blueprint.tensors = []
        self._book.release()
        self._hand.release()

    def forward_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An entry module was called."""
        outside = not self.notes.inside and torch.is_grad_enabled()
        if outside and not self._book.any_seen and self._hand.ended(self._tick.backwards):
            self._step_by_hand()
        tick = self._tick
        if tick.sampled:
            # Only then are the ends of forward passes seen as well.
            self.notes.inside += 1
        if self.notes.inside > 1 or not torch.is_grad_enabled():
            return
        if tick.inputs_seen:
            tick.more_inputs = True
        else:
            self._inputs.take(tick, args, kwargs)
        if tick.sampled:
            self._watch.live = self._watch.open = True
            if tick.traced:
                self._tracer.resting = False
                self._modes.push()

    def forward_ends(self) -> None:
        """An entry module returned, or raised, in a sampled step."""
        self.notes.inside = max(0, self.notes.inside - 1)
        self._watch.open = self._watch.open and self.notes.inside > 0

    def region_begins(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """A compiled part was called."""
        if (region := self.parts.region(module)) is None:
            return
        region.is_entry = region.is_entry or not self._tick.inputs_seen
        if region.is_entry:
            self.forward_begins(args, kwargs)
        if self._tick.traced:
            self.parts.begins(region, args, kwargs)

    def region_ends(self, module: nn.Module, result: Any) -> None:
        """It returned; not told if it raised, nor where nobody looks closely."""
        if (region := self.parts.known(module)) is None:
            return
        if self._tick.traced:
            self.parts.ends(region, result)
        if region.is_entry:
            self.forward_ends()

    def backward_begins(self, tensors: Sequence[Tensor]) -> None:
        """``backward`` was called; its graph is whole."""
        if self._tick.sampled:
            self._look_closely(tensors)
        self._grads.mark()
        book = self._book if self._book.any_seen else self._hand
        if forgotten := book.look_at_residue(closely=self._tick.sampled):
            self._incidents.left_over(self.steps, forgotten)
        root = scalar(tensors)
        loss = root if root is None or self.amp.scale is None else self.amp.true(root)
        if self._tick.backwards == 1:
            self.shares.look(root)
        self._pending = None if root is None or loss is None else self._read(loss, root)

    def _read(self, loss: Tensor, root: Tensor | None) -> Late | float:
        """Return the number of a loss, judged if the backward pass from ``root`` begins."""
        value: float = loss.item()
        if root is not None:
            self._judge(value, root)
        return value

    def _judge(self, value: float, root: Tensor) -> None:
        """Look at a loss whose graph is whole."""
        if not math.isfinite(value):
            # Whether the batch was bad is asked before where else it came from.
            self._inputs.settle()
            self._incidents.inputs_seen = self._tick.inputs_seen and not self._tick.more_inputs
            self._incidents.order = self._watch.order
        self._arm_if(self._incidents.judge_loss(self.steps, value, root))

    def _look_closely(self, tensors: Sequence[Tensor]) -> None:
        """A backward pass of a sampled step begins."""
        if self._tick.traced:
            self._outputs |= self._tracer.layers_in(tensors)
            self._tracer.rest()
            self._modes.remove()
        if self._blueprint.lazy:
            self._redraw()
        self._tick.param += self._strangers.look(self.steps, tensors)
        self._late.look(self.steps, self._model, self._book.stepped)
        self.parts.look(tensors, self._blueprint.param_of)
        self._watch.backward_begins()

    def backward_ends(self) -> None:
        """``backward`` returned; gradients have been accumulated."""
        tick = self._tick
        if tick.sampled:
            self._watch.live = False
            self.parts.replay.run()
        loss, self._pending = self._pending, None
        if not (self._stepped_inside or self._grads.changed()):
            # It went into another model.
            return
        tick.backwards += 1
        self._seen_backward = True
        if loss is not None and not self._step.evaluations:
            # A closure is evaluated again at other weights: the first one is the loss of the step.
            tick.take(loss)
        if self._stepped_inside:
            self._stepped_inside = False
            self._close()
            return
        self._arm_if(self._step.backward_ended(tick, self.amp.scale))
        if not self._book.any_seen:
            self._arm_if(self._hand.mark(tick))
        elif tick.backwards > self._usual * LONG_SILENCE and not is_step_under_way():
            self._step_by_hand()

    def _arm_if(self, bad: object) -> None:
        """Look closely for a while."""
        if bad:
            self._rhythm.arm(self.steps)

    def grad_called(self, tensors: Any) -> None:
        """``autograd.grad`` was called: its output may be the loss of a loop without ``backward``."""
        self.parts.look(tensors, self._blueprint.param_of)
        self._facts["differentiates"] = True
        if (loss := scalar(tensors)) is not None:
            self._side = self._read(loss, None)

    def optimizer_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        tick = self._tick
        mine = self._book.meet(optimizer, closely=tick.sampled)
        if mine is None or is_inner_step(optimizer):
            return
        if tick.traced:
            self._modes.remove()
        if in_backward():
            self._meter.take_of(tick, mine.updates.indices)
        else:
            self._step_begins(tick, mine, optimizer)
        if tick.sampled:
            self._book.before(mine)

    def _step_begins(self, tick: Tick, mine: Entry, optimizer: torch.optim.Optimizer) -> None:
        if self._side is not None:
            if not self._seen_backward:
                tick.take(self._side)
            self._side = None
        if tick.sampled:
            self.parts.replay.run()
        self._arm_if(self._step.begins(tick, mine, grad_scale(optimizer)))

    def optimizer_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        mine, tick = self._book.met(optimizer), self._tick
        if mine is None or is_inner_step(optimizer):
            return
        self._arm_if(self._step.ends(tick, optimizer))
        self.amp.stepped = tick.stepped = True
        if self.amp.scale is not None:
            self.amp.note(tick, optimizer)
        tick.add(*self._book.settings(mine, closely=tick.sampled))
        tick.residual(self._book.residue(mine))
        if tick.sampled:
            tick.param += tuple(self._book.after(mine))
        if in_backward():
            # Many optimizers step inside one backward pass: its end is the end of the step.
            self._stepped_inside = True
            self._book.steps_inside(mine)
        elif self._book.leads(mine):
            self._close()

    def scaler_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """A gradient scaler has let an optimizer step, or not."""
        if self.amp.stepped or (mine := self._book.meet(optimizer, closely=False)) is None:
            return
        self._tick.stepped = True
        self.amp.note(self._tick, None)
        self._tick.add(*self._book.settings(mine, closely=self._tick.sampled))
        if self._book.leads(mine):
            self._close()

    def _step_by_hand(self) -> None:
        """A step ended that no optimizer made; several backward passes without any are as many steps."""
        tick = self._tick
        tick.stepped = self._hand.seen
        tick.param += tuple(self._hand.updates())
        tick.residual(self._hand.residue())
        for losses, backwards in self._hand.steps(tick):
            self._tick.losses, self._tick.backwards = losses, backwards
            self._close()

    def _close(self) -> None:
        """End the tick and decide how closely to look at the next."""
        tick = self._tick
        if tick.sampled:
            tick.layer = tuple(self._watch.finish())
        tick.shares = tick.backwards > 1 and self.shares.add_up(tick.backwards)
        self.rows.waiting.append(tick)
        if self.amp.scale is not None:
            self._incidents.note_if(self.amp.is_stuck(tick), tick.step, "step_skipped")
        self._usual = max(self._usual, tick.backwards if tick.stepped else 0)
        self.steps = self.notes.step = self.steps + 1
        self._seen_backward = False
        if tick.traced:
            self._modes.remove()
            self._tracer.clear()
            self.parts.replay.begin()
        if tick.settings is not self._settings:
            self._settings = tick.settings
            self._arm_if(self._book.rate_jumped(tick.keys, tick.settings))
        sampled, traced = self._rhythm.next(self.steps, compiled=self.parts.compiled)
        self._tick = Tick(self.steps, sampled=sampled, traced=traced)
        self._watch.live, self.notes.inside = False, 0
        if sampled or tick.sampled:
            self._switch()
        if (sampled and not self.far) or self.rows.many:
            self._flush()

    def _switch(self) -> None:
        """Put the hooks on layers on or off for the step that begins."""
        watch, self._listener.looks_closely = self._watch, self._tick.sampled
        watch.begin()
        watch.tracing = self._tick.traced
        if not self._tick.sampled:
            watch.switch_off()
            return
        watch.ended = self.forward_ends
        self.parts.hook(late=self.steps > 0)

    def _entry_found(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.parts.owns(module) and id(module) not in self._watch.entries:
            self.parts.enter(module)
            # The hook just put on is called from the next time on.
            self.forward_begins(args, {})

    def _redraw(self) -> None:
        """Find layers and parameters that were added or replaced since the start."""
        if self._model is not None:
            redraw(self._blueprint, self._model)
            self.parts.refresh()

    def _flush(self) -> None:
        self._inputs.settle()
        self.rows.flush()

    def recording(self) -> Recording:
        """Return everything seen so far, or since the last part, as one frozen value."""
        self._flush()
        facts: dict[str, Fact] = {
            **self._facts,
            "compiled": self.parts.compiled,
            "disarmed": self.failed,
            **self._strangers.facts(self._book.stepped, self._book.others),
        }
        hidden = self.parts.replay.broken
        unborn = self.far and self._incidents.unborn
        unseen = Unseen(self.steps, self._hand.unseen(), hidden, unborn, self.captured)
        return assembled(
            facts,
            unseen,
            blueprint=self._blueprint,
            watch=self._watch,
            book=self._book,
            rows=self.rows,
            outputs=self._outputs,
        )
