"""What one run looks like from its hooks: ticks, sampling, anomalies, and the recording at the end."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.functionmode import ModeStack
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.losses import loss_facts
from neuraldbg.capture.optim import OptimizerBook
from neuraldbg.capture.params import initial_numbers, norms, similarity
from neuraldbg.capture.provenance import find_birth
from neuraldbg.capture.reduce import Numbers, float_tensors, in_full_precision, input_numbers
from neuraldbg.capture.schedule import Schedule, is_sampled
from neuraldbg.capture.tick import Tables, Tick
from neuraldbg.capture.topology import draw
from neuraldbg.capture.trace import Tracer
from neuraldbg.records.recording import (
    Fact,
    LossCall,
    Occurrence,
    Recording,
    Topology,
    Unobserved,
)

__all__ = ["Session"]

# Steps at which the similarity of units is measured (mechanisms.md section 9, 13).
SIMILARITY_STEPS = frozenset({0, 5, 20})
EDGE_STEPS = 2
SPIKE_Z = 6.0
HISTORY = 32


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
        self._facts: dict[str, Fact] = _facts(model)
        self._book = OptimizerBook(self._blueprint.param_of)
        self._tables = Tables()
        self._waiting: deque[Tick] = deque()
        self._tick = Tick(step=0, sampled=True)
        self._armed_until = 0
        self._losses: list[LossCall] = []
        self._occurrences: list[Occurrence] = []
        self._happened: set[tuple[str, int]] = set()
        self._functional: dict[int, str] = {}
        self._recent: deque[float] = deque(maxlen=HISTORY)
        self._outputs: set[int] = set()
        self._inputs: set[int] = set()
        self._reached = False
        self._expects_reach = False
        self._pending: Tensor | None = None
        self._in_step = False
        self._seen_backward = False
        self._probe: list[int] = []
        self._modes = ModeStack()
        compiled = _is_compiled(model)
        self._tracer = None if compiled else Tracer(self)
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
            self._note("exception", -1, {"type": type(exception).__name__})
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
            self._check_input(numbers)
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
        if loss is not None and not loss.is_cuda:
            self._judge_loss(loss)

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
            self._tick.run["grad_norm_raw"] = self._total_gradient()
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
                self._tick.run["grad_norm_used"] = self._total_gradient()
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
        self._note("detached", layer, {})

    def on_risky(self, layer: int, name: str) -> None:
        """Take an operation at its singular point."""
        self._note("risky_op", layer, {"op": name})

    def _on_output_gradient(self, _gradient: Tensor) -> None:
        self._reached = True

    # -- details --------------------------------------------------------------------------------

    def _outputs_from(self, tensors: Any) -> None:
        if self._tracer is None:
            return
        for tensor in float_tensors(tensors):
            self._outputs |= self._tracer.layers_of(tensor)

    def _note(self, kind: str, layer: int, facts: dict[str, Fact]) -> None:
        if (kind, layer) not in self._happened:
            self._happened.add((kind, layer))
            self._occurrences.append(
                Occurrence(step=self.steps, kind=kind, layer=layer, facts=facts)
            )

    def _has(self, kind: str) -> bool:
        return any(k == kind for k, _ in self._happened)

    def _check_input(self, numbers: dict[str, Tensor | float]) -> None:
        found = numbers.get("input_nonfinite", 0.0)
        if not (isinstance(found, Tensor) and found.is_cuda) and float(found) > 0:
            self._note("nonfinite_input", -1, {})

    def _judge_loss(self, loss: Tensor) -> None:
        """Look at the loss before its graph is gone: a first NaN is traced, a spike arms the next steps."""
        value = float(loss.detach())
        if not math.isfinite(value):
            if not self._has("nonfinite_loss"):
                self._trace_nonfinite(loss)
                self._note("nonfinite_loss", -1, {"value": str(value)})
            self._arm()
            return
        if len(self._recent) >= 8:
            center = statistics.median(self._recent)
            spread = 1.4826 * statistics.median(abs(x - center) for x in self._recent)
            if abs(value - center) > SPIKE_Z * max(spread, 0.02 * abs(center), 1e-12):
                self._arm()
        self._recent.append(value)

    def _arm(self) -> None:
        self._armed_until = max(self._armed_until, self.steps + 1 + self._schedule.armed)

    def _trace_nonfinite(self, loss: Tensor) -> None:
        if self._has("nonfinite_input") or self._has("nonfinite_gradient"):
            return
        bad = [
            i
            for i, size in enumerate(norms([p.detach() for p in self._blueprint.tensors]))
            if not math.isfinite(size.item())
        ]
        if bad:
            self._note("nonfinite_parameter", self._blueprint.params[bad[0]].layer, {})
            return
        birth = find_birth(loss)
        if birth is None:
            return
        near = [self._blueprint.param_of[p] for p in birth.params if p in self._blueprint.param_of]
        layer = self._blueprint.params[near[0]].layer if near else -1
        facts: dict[str, Fact] = {"op": birth.op, "rows": birth.rows}
        self._note("nonfinite_target" if birth.target else "nonfinite_forward", layer, facts)

    def _take_gradients(self) -> None:
        """Measure gradient norms: all on a sampled step, else those of two probes.

        A NaN born anywhere in a backward pass reaches the layers nearest the input, so a probe there sees
        it; then all are measured in the same step.
        """
        if self._tick.sampled or not self._measure(self._probes()):
            self._measure(range(len(self._blueprint.tensors)))
            if not self._on_device() and not self._has("nonfinite_gradient"):
                self._check_gradients()

    def _measure(self, chosen: Sequence[int]) -> bool:
        """Take the gradient norms of these parameters; return whether all were there and finite."""
        indices, gradients = self._gradients(chosen)
        self._tick.grad_index = indices
        self._tick.grad = torch.stack(norms(gradients)) if gradients else None
        if self._tick.grad is None or self._on_device():
            return bool(gradients)
        return math.isfinite(sum(self._tick.grad.tolist()))

    def _probes(self) -> list[int]:
        """Return the parameters of the first and the last layer that hold a gradient."""
        if not self._probe:
            order = {layer: place for place, layer in enumerate(self._watch.order)}
            held = [
                (order.get(self._blueprint.params[i].layer, -1), i)
                for i, p in enumerate(self._blueprint.tensors)
                if p.grad is not None and p.dim() >= 2
            ]
            self._probe = sorted({min(held)[1], max(held)[1]}) if held else []
        return self._probe

    def _gradients(self, chosen: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        indices, gradients = [], []
        for index in chosen:
            gradient = self._blueprint.tensors[index].grad
            if gradient is not None:
                indices.append(index)
                values = gradient.detach()
                gradients.append(values.coalesce().values() if values.is_sparse else values)
        return indices, gradients

    def _check_gradients(self) -> None:
        """Find where a gradient first became non-finite while the loss was finite."""
        sizes = self._tick.grad.tolist() if self._tick.grad is not None else []
        if math.isfinite(sum(sizes)):
            return
        bad = [i for i, v in zip(self._tick.grad_index, sizes, strict=True) if not math.isfinite(v)]
        if self._has("nonfinite_loss"):
            self._note("nonfinite_gradient_after_loss", -1, {})
            return
        order = {layer: place for place, layer in enumerate(self._watch.order)}
        layers = [self._blueprint.params[i].layer for i in bad]
        nearest = max(layers, key=lambda layer: order.get(layer, -1))
        self._note(
            "nonfinite_gradient",
            nearest,
            {"share": len(bad) / max(len(sizes), 1), "all": len(bad) == len(sizes)},
        )
        self._arm()

    def _total_gradient(self) -> Tensor:
        _, gradients = self._gradients(range(len(self._blueprint.tensors)))
        if not gradients:
            return torch.zeros(())
        return torch.linalg.vector_norm(torch.stack(norms(gradients)))

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
        while self._waiting:
            self._tables.write(self._waiting.popleft())

    # -- result ---------------------------------------------------------------------------------

    def recording(self) -> Recording:
        """Return everything seen so far as one frozen value."""
        if not self._on_device():
            self._flush()
        tables = self._tables
        return Recording(
            facts={
                **self._facts,
                "optimizers": len(self._book.infos()),
                "disarmed": self.failed,
            },
            topology=self._topology(),
            optimizers=self._book.infos(),
            steps=tables.step.steps(),
            step=tables.step.columns(),
            group=tables.group.columns(tables.group.width()),
            grad=tables.grad.columns(len(self._blueprint.params)),
            sampled=tables.layer.steps(),
            layer=tables.layer.columns(len(self._blueprint.layers)),
            param=tables.param.columns(len(self._blueprint.params)),
            losses=tuple(self._losses),
            occurrences=tuple(self._occurrences),
            unobserved=self._unobserved(),
        )

    def _topology(self) -> Topology:
        order = {layer: place for place, layer in enumerate(self._watch.order)}
        layers = tuple(
            replace(
                layer,
                order=order.get(i, -1),
                activation=layer.activation or self._functional.get(i) or self._next_module(i),
            )
            for i, layer in enumerate(self._blueprint.layers)
        )
        edges = tuple(
            sorted((a, b) for a, b in self._watch.edges if order.get(a, -1) < order.get(b, -1))
        )
        groups = self._book.groups()
        params = tuple(
            replace(p, group=groups.get(i, -1)) for i, p in enumerate(self._blueprint.params)
        )
        fed = {b for _, b in edges}
        outputs = self._outputs or {i for i, x in enumerate(layers) if x.order == len(order) - 1}
        inputs = tuple(i for i, x in enumerate(layers) if x.order >= 0 and i not in fed)
        return Topology(
            layers=layers,
            params=params,
            edges=edges,
            inputs=inputs,
            outputs=tuple(sorted(outputs)),
        )

    def _next_module(self, layer: int) -> str | None:
        """Return the nonlinearity that is the only module reading a layer's output."""
        readers = {b for a, b in self._watch.edges if a == layer}
        names = {self._blueprint.layers[b].activation for b in readers}
        kinds = {self._blueprint.layers[b].kind for b in readers}
        return names.pop() if kinds == {"activation"} and len(names) == 1 else None

    def _unobserved(self) -> tuple[Unobserved, ...]:
        out = []
        layers = self._blueprint.layers
        seen = set(self._watch.order)
        missing = [x.name for i, x in enumerate(layers) if i not in seen and x.kind != "loss"]
        if missing and seen:
            shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            out.append(Unobserved(f"layers {shown}", "they were not called in the steps watched"))
        if self.steps and not self._book.any_seen:
            out.append(Unobserved("updates", "no optimizer of these parameters ever stepped"))
        if self.steps and not self._losses:
            out.append(
                Unobserved(
                    "labels and loss kind",
                    "the loss was not computed by a known function",
                )
            )
        if self._tracer is None:
            out.append(Unobserved("functional activations", "the model is compiled"))
        if self._on_device():
            out.append(Unobserved("the exact first NaN", "it would stall the device every step"))
        if self.failed:
            out.append(Unobserved("the rest of the run", f"capture stopped: {self.failed}"))
        return tuple(out)


def _scalar(tensors: Any) -> Tensor | None:
    if isinstance(tensors, Tensor):
        return tensors if tensors.numel() == 1 else None
    found = [t for t in float_tensors(tensors) if t.numel() == 1]
    return found[0] if found else None


def _is_compiled(model: nn.Module) -> bool:
    return any(type(m).__name__ == "OptimizedModule" for m in model.modules())


def _facts(model: nn.Module) -> dict[str, Fact]:
    first = next(model.parameters(), None)
    return {
        "model": type(model).__name__,
        "torch": torch.__version__,
        "device": "cpu" if first is None else first.device.type,
        "dtype": "" if first is None else str(first.dtype).removeprefix("torch."),
        "autocast": str(torch.get_autocast_dtype("cpu")).removeprefix("torch.")
        if torch.is_autocast_enabled("cpu")
        else "",
        "compiled": _is_compiled(model),
    }
