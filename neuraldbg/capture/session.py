"""What one run looks like from its hooks: ticks, sampling, anomalies, and the recording at the end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.assemble import is_compiled, program_facts, topology, unobserved
from neuraldbg.capture.functionmode import ModeStack
from neuraldbg.capture.gradients import Gradients
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.losses import loss_facts
from neuraldbg.capture.optim import OptimizerBook
from neuraldbg.capture.params import initial_numbers, similarity
from neuraldbg.capture.reduce import Numbers, float_tensors, in_full_precision, input_numbers
from neuraldbg.capture.schedule import Schedule, is_sampled
from neuraldbg.capture.tick import Tables, Tick
from neuraldbg.capture.topology import draw
from neuraldbg.capture.trace import Tracer
from neuraldbg.records.recording import (
    Fact,
    LossCall,
    Recording,
)

__all__ = ["Session"]

# Steps at which the similarity of units is measured (mechanisms.md section 9, 13).
SIMILARITY_STEPS = frozenset({0, 5, 20})
EDGE_STEPS = 2


class Session:
    """The state of one watched run; every public method is one point of the user's loop."""

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        self.guard = guard
        self.steps = 0
        self.inside = 0
        self.failed = ""
        self._schedule = schedule
        self._blueprint = draw(model)
        self._grads = Gradients(self._blueprint)
        self._facts: dict[str, Fact] = program_facts(model)
        self._book = OptimizerBook(self._blueprint.param_of)
        self._tables = Tables()
        self._waiting: deque[Tick] = deque()
        self._tick = Tick(step=0, sampled=True)
        self._armed_until = 0
        self._losses: list[LossCall] = []
        self._incidents = Incidents(self._blueprint)
        self._functional: dict[int, str] = {}
        self._outputs: set[int] = set()
        self._inputs: set[int] = set()
        self._pending: Tensor | None = None
        # Whether a gradient reached the model's output, was expected to, and whether a step is under way.
        self._reached = self._expects_reach = self._in_step = self._seen_backward = False
        self._modes = ModeStack()
        compiled = is_compiled(model)
        self._tracer = None if compiled else Tracer(self)
        self.on_rows: Callable[[], None] | None = None
        self._told = (0, 0)
        self._members = {id(m): m for m in model.modules()}
        layers = self._blueprint.layers
        self._watch = LayerWatch(
            self._blueprint.layer_of,
            [layer.kind for layer in layers],
            [layer.activation for layer in layers],
            self._tracer,
            self.guard,
        )

    # -- lifetime -------------------------------------------------------------------------------

    def begin(self, discover: Callable[[nn.Module], None]) -> None:
        """Measure the untouched weights and wait for the first step."""
        self._discover = discover
        self._modes.base()
        for index, parameter in enumerate(self._blueprint.tensors):
            info = self._blueprint.params[index]
            if info.kind == "matrix":
                self._tick.param += initial_numbers(index, parameter, info.fan_in)
        self._switch(on=True)

    def end(self, exception: BaseException | None) -> None:
        """Close the last, possibly unfinished step and note how the run ended."""
        self._facts["finished"] = exception is None
        if exception is not None:
            self._facts["exception"] = type(exception).__name__
            self._incidents.note(self.steps, "exception", -1, {"type": type(exception).__name__})
        if self._tick.backwards or self._tick.losses:
            self._close()
        self._flush()

    def release(self) -> None:
        """Remove hooks and modes and let go of the model."""
        self._watch.live = False
        self._watch.switch_off()
        if self._tracer is not None:
            self._tracer.clear()
            self._modes.remove(self._tracer)
        self._members = {}
        self._blueprint.tensors = []
        self._pending = None
        self._book.release()

    # -- the user's loop ------------------------------------------------------------------------

    def forward_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An entry module was called."""
        self.inside += 1
        if self.inside > 1 or not torch.is_grad_enabled():
            return
        self._watch.live = self._tick.sampled
        tensors = list(float_tensors((args, kwargs), 3))
        if not self._tick.inputs_seen and tensors:
            self._tick.inputs_seen = True
            with torch.no_grad(), in_full_precision(tensors[0].device):
                numbers = dict(input_numbers(tensors, closely=self._tick.sampled))
            self._tick.run |= numbers
            self._incidents.judge_input(self.steps, numbers)
        if self._tick.sampled and self._tracer is not None:
            self._tracer.resting = False
            self._modes.push(self._tracer)

    def forward_ends(self, output: Any) -> None:
        """An entry module returned, or raised."""
        self.inside = max(0, self.inside - 1)
        if self.inside or not torch.is_grad_enabled():
            return
        for tensor in float_tensors(output, 3):
            if tensor.requires_grad and tensor.is_floating_point():
                self._expects_reach = True
                tensor.register_hook(self._on_output_gradient)
                break

    def backward_begins(self, tensors: Any) -> None:
        """``backward`` was called; its graph is still whole."""
        if self._tracer is not None and self._tick.sampled:
            self._outputs_from(tensors)
            self._tracer.resting = True
            self._modes.remove(self._tracer)
        self._reached = not self._expects_reach
        self._book.look_at_residue(on_device=False)
        loss = _scalar(tensors)
        self._pending = loss.detach() if loss is not None else None
        near = loss is not None and not loss.is_cuda
        if loss is not None and near and self._incidents.judge_loss(self.steps, loss):
            self._arm()

    def backward_ends(self) -> None:
        """``backward`` returned; gradients have been accumulated."""
        self._watch.live = False
        loss, self._pending = self._pending, None
        if not self._reached:
            return
        self._expects_reach = False
        self._tick.backwards += 1
        self._seen_backward = True
        if loss is not None:
            self._tick.losses.append(loss)
        if self._in_step:
            self._take_gradients()
        elif self._tick.sampled:
            self._tick.run["grad_norm_raw"] = self._grads.total()
        if not self._book.any_seen and self._tick.backwards > 1:
            self._count_without_optimizer()

    def optimizer_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        mine = self._book.meet(optimizer)
        if mine is None:
            return
        if self._tracer is not None:
            self._modes.remove(self._tracer)
        self._in_step = True
        if self._seen_backward:
            self._take_gradients()
        if self._tick.sampled:
            if self._seen_backward:
                self._tick.run["grad_norm_used"] = self._grads.total()
            self._measure_similarity()
            self._book.before(optimizer)

    def optimizer_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        mine = self._book.meet(optimizer)
        if mine is None:
            return
        self._in_step = False
        self._tick.stepped = True
        self._tick.groups += self._book.settings(optimizer)
        residue = self._book.residue(optimizer)
        if residue is not None:
            self._tick.run["residual"] = residue
        if self._tick.sampled:
            self._tick.rows += self._book.after(optimizer)
        if self._book.leads(optimizer):
            self._close()

    # -- what the tracer tells ------------------------------------------------------------------

    def latest(self, layers: frozenset[int]) -> int:
        """Return the layer among these that ran last in this step."""
        order = {layer: place for place, layer in enumerate(self._watch.order)}
        return max(layers, key=lambda layer: order.get(layer, -1))

    def on_activation(self, layer: int, name: str, tensor: Tensor, *, direct: bool) -> None:
        """Take the input of a functional nonlinearity."""
        if direct:
            self._functional.setdefault(layer, name)
        axis = 1 if tensor.dim() >= 4 else -1
        with torch.no_grad():
            self._watch.add(layer, self._watch.regime(layer, tensor, axis, name, is_input=True))

    def on_loss(
        self, name: str, layer: int, prediction: Tensor, target: Tensor, reduction: str
    ) -> None:
        """Take the call of a loss function."""
        if len(self._losses) < 4096:
            facts = loss_facts(name, prediction, target, reduction)
            self._losses.append(LossCall(step=self.steps, function=name, layer=layer, facts=facts))

    def on_attention(self, layer: int, numbers: Numbers) -> None:
        """Take attention numbers of one call."""
        self._watch.add(layer, numbers)

    def on_detach(self, layer: int) -> None:
        """Take a cut of the graph inside the model."""
        self._incidents.note(self.steps, "detached", layer, {})

    def on_risky(self, layer: int, name: str) -> None:
        """Take an operation at its singular point."""
        self._incidents.note(self.steps, "risky_op", layer, {"op": name})

    def _on_output_gradient(self, _gradient: Tensor) -> None:
        self._reached = True

    # -- details --------------------------------------------------------------------------------

    def _outputs_from(self, tensors: Any) -> None:
        if self._tracer is None:
            return
        for tensor in float_tensors(tensors):
            self._outputs |= self._tracer.layers_of(tensor)

    def _arm(self) -> None:
        self._armed_until = max(self._armed_until, self.steps + 1 + self._schedule.armed)

    def _take_gradients(self) -> None:
        """Measure gradient norms: all on a sampled step, else those of two probes.

        A NaN born anywhere in a backward pass reaches the layers nearest the input, so a probe there sees
        it; then all are measured in the same step.
        """
        if self._tick.sampled or not self._measure(self._grads.probes(self._watch.order)):
            self._measure(self._grads.everyone())
            if self._tick.grad is not None and not self._on_device():
                sizes = dict(zip(self._tick.grad_index, self._tick.grad.tolist(), strict=True))
                if self._incidents.judge_gradients(self.steps, sizes, self._watch.order):
                    self._arm()

    def _measure(self, chosen: Sequence[int]) -> bool:
        """Take the gradient norms of these parameters; return whether all were there and finite."""
        self._tick.grad_index, self._tick.grad = self._grads.norms_of(chosen)
        if self._tick.grad is None or self._on_device():
            return self._tick.grad is not None
        return math.isfinite(sum(self._tick.grad.tolist()))

    def _measure_similarity(self) -> None:
        if self.steps not in SIMILARITY_STEPS:
            return
        for index, parameter in enumerate(self._blueprint.tensors):
            if self._blueprint.params[index].kind == "matrix":
                self._tick.param += similarity(index, parameter)

    def _count_without_optimizer(self) -> None:
        """Backward passes without any optimizer step: each counts as one step that never came."""
        last = self._tick
        last.backwards -= 1
        loss = last.losses.pop() if last.losses else None
        self._close()
        self._tick.backwards = 1
        if loss is not None:
            self._tick.losses.append(loss)

    def _close(self) -> None:
        """End the tick and decide how closely to look at the next."""
        tick = self._tick
        if tick.sampled:
            tick.layer = self._watch.finish()
        self._waiting.append(tick)
        self.steps += 1
        self._seen_backward = False
        if self._tracer is not None:
            self._modes.remove(self._tracer)
            self._tracer.clear()
        rates = [value for name, _, value in tick.groups if name == "lr"]
        if self._book.rate_jumped(rates):
            self._arm()
        self._tick = Tick(
            step=self.steps,
            sampled=is_sampled(self._schedule, self.steps, self._armed_until),
        )
        self._watch.live = False
        self.inside = 0
        self._switch(on=self._tick.sampled)
        if not self._on_device() or self._tick.sampled:
            self._flush()

    def _on_device(self) -> bool:
        return bool(self._blueprint.tensors) and self._blueprint.tensors[0].is_cuda

    def _switch(self, *, on: bool) -> None:
        self._watch.begin()
        if not on:
            self._watch.switch_off()
            return
        if self.steps < EDGE_STEPS:
            self._watch.entry = self._entry_found
        else:
            self._watch.entry = None
        self._watch.switch_on()

    def _entry_found(self, module: nn.Module) -> None:
        if id(module) in self._members:
            self._discover(module)

    def _flush(self) -> None:
        fresh = bool(self._waiting)
        while self._waiting:
            self._tables.write(self._waiting.popleft())
        if fresh and self.on_rows is not None:
            self.on_rows()

    # -- result ---------------------------------------------------------------------------------

    @property
    def pending(self) -> tuple[int, int, int]:
        """Steps, sampled steps and occurrences since the last part."""
        fresh = len(self._incidents.occurrences) - self._told[1]
        return len(self._tables.step), len(self._tables.layer), fresh

    def part(self) -> Recording:
        """Return what is new since the last part; its numbers are no longer kept here."""
        found = self.recording()
        losses, occurrences = self._told
        self._told = len(self._losses), len(self._incidents.occurrences)
        self._tables = Tables()
        return replace(
            found,
            losses=tuple(self._losses[losses:]),
            occurrences=tuple(self._incidents.occurrences[occurrences:]),
        )

    def recording(self) -> Recording:
        """Return everything seen so far, or since the last part, as one frozen value."""
        if not self._on_device():
            self._flush()
        tables = self._tables
        return Recording(
            facts={
                **self._facts,
                "optimizers": len(self._book.infos()),
                "disarmed": self.failed,
            },
            topology=topology(
                self._blueprint, self._watch, self._functional, self._book.groups(), self._outputs
            ),
            optimizers=self._book.infos(),
            steps=tables.step.steps(),
            step=tables.step.columns(),
            group=tables.group.columns(tables.group.width()),
            grad=tables.grad.columns(len(self._blueprint.params)),
            sampled=tables.layer.steps(),
            layer=tables.layer.columns(len(self._blueprint.layers)),
            param=tables.param.columns(len(self._blueprint.params)),
            losses=tuple(self._losses),
            occurrences=tuple(self._incidents.occurrences),
            unobserved=unobserved(
                self._blueprint,
                self._watch,
                steps=self.steps,
                stepped=self._book.any_seen,
                losses=bool(self._losses),
                traced=self._tracer is not None,
                on_device=self._on_device(),
                failed=self.failed,
            ),
        )


def _scalar(tensors: Any) -> Tensor | None:
    if isinstance(tensors, Tensor):
        return tensors if tensors.numel() == 1 else None
    found = [t for t in float_tensors(tensors) if t.numel() == 1]
    return found[0] if found else None
