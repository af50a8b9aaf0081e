"""Hooks on layers during a sampled step: global hooks that take samples, nothing written on any module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from neuraldbg.capture.along import Along, time_slopes
from neuraldbg.capture.attention import module_attention
from neuraldbg.capture.bank import (
    Rows,
    flat_view,
    memory_sample,
    reduce_gradients,
    reduce_outputs,
    unit_axis,
    unit_sample,
)
from neuraldbg.capture.compiled import is_transformed
from neuraldbg.capture.dataflow import Dataflow
from neuraldbg.capture.fed import Feeds
from neuraldbg.capture.halves import Halves
from neuraldbg.capture.hooks import InertHook
from neuraldbg.capture.norms import NormSample, norm_sample, reduce_norms
from neuraldbg.capture.reduce import (
    Numbers,
    autocast_dtype,
    first_float,
    float_tensors,
    in_backward,
    in_full_precision,
    is_batched,
    is_dense,
    stack_together,
)
from neuraldbg.capture.regimes import Regimes
from neuraldbg.capture.shards import is_sharded, local
from neuraldbg.capture.through_time import ThroughTime
from neuraldbg.capture.topology import Blueprint
from neuraldbg.capture.trace import Tracer

__all__ = ["LayerWatch"]

OUTPUT_ENTRIES = 2048
MAX_TIME_STEPS = 64
# Kinds whose outputs and output gradients are measured; others only tell their regime.
WEIGHTED = frozenset({"linear", "conv", "recurrent", "attention", "embedding", "norm"})

Guard = Callable[..., None]


class LayerWatch:
    """Reads every layer's output and output gradient while it is switched on.

    Parameters
    ----------
    blueprint
        Layers by identity.
    tracer
        Told which tensor left which layer; None where function modes cannot be used.
    guard
        Runs work of ours; an error disarms capture.
    """

    def __init__(self, blueprint: Blueprint, tracer: Tracer | None, guard: Guard) -> None:
        self.live = False
        self.tracing = False
        # Whether a pass of the loop that trains is under way: what it does without gradients may be recomputed.
        self.open = False
        self.calls: dict[int, int] = {}
        self.flow = Dataflow()
        self.order: list[int] = []
        self.place: dict[int, int] = {}
        self.entry: Callable[[nn.Module, tuple[Any, ...]], None] | None = None
        # Modules that are called from outside, and what to do when such a call ends.
        self.entries: set[int] = set()
        self.ended: Callable[[], None] = _nothing
        # Layer to the function that is applied directly to its output: read there, no tracing needed.
        self.functional: dict[int, str] = {}
        # Nonlinearities that were applied to more than what one layer gave, as to a sum.
        self.applied = set[str]()
        # Layer to the module in which attention is made of its output.
        self.attends: dict[int, str] = {}
        # Data type of automatic mixed precision, where layers ran under it.
        self.autocast = ""
        self.regimes = Regimes()
        self._feeds, self._along, self.halves = Feeds(), Along(), Halves()
        self._through = ThroughTime(guard)
        self._blueprint = blueprint
        self._tracer = tracer
        self._guard = guard
        self._handles: list[RemovableHandle] = []
        self._depth = 0
        # Outputs whose gradient is wanted, while a part is replayed.
        self.reached: list[Tensor] | None = None
        self.begin()

    def switch_on(self, modules: Iterable[nn.Module] | None = None) -> None:
        """Register the hooks that are not there: global ones, or those of these modules only."""
        if not self._handles:
            self._handles = self.hook_all() if modules is None else self._hook_each(modules)

    def switch_off(self) -> None:
        """Remove the hooks."""
        self.unhook(self._handles)
        self._handles = []

    @property
    def is_on(self) -> bool:
        """Whether hooks are registered."""
        return bool(self._handles)

    def hook_all(self) -> list[RemovableHandle]:
        """Register global hooks and return their handles."""
        return [
            register_module_forward_pre_hook(InertHook(self._before)),  # type: ignore[arg-type]
            register_module_forward_hook(InertHook(self._after), always_call=True),  # type: ignore[arg-type]
        ]

    def _hook_each(self, modules: Iterable[nn.Module]) -> list[RemovableHandle]:
        handles = []
        for module in modules:
            handles.append(module.register_forward_pre_hook(InertHook(self._before)))  # type: ignore[arg-type]
            always = id(module) in self.entries
            hook = InertHook(self._after)
            handles.append(module.register_forward_hook(hook, always_call=always))  # type: ignore[arg-type]
        return handles

    @staticmethod
    def unhook(handles: Iterable[RemovableHandle]) -> None:
        """Remove hooks."""
        for handle in handles:
            handle.remove()

    def begin(self) -> None:
        """Forget what the step before left."""
        self.calls = {}
        # Layers that ran without gradients and outside of the passes of the loop that trains.
        self._aside: set[int] = set()
        self.open = False
        # Layers that ran without gradients only; those of them never seen before; those computed again since.
        self._doubtful: set[int] = set()
        self._fresh: set[int] = set()
        self._again: set[int] = set()
        self._depth = 0
        self._outputs: dict[int, Tensor] = {}
        self._gradients: list[tuple[int, Tensor, int]] = []
        self._pass_start = 0
        self._norms: dict[int, NormSample] = {}
        self._kept: dict[int, Tensor] = {}
        self._cells: list[tuple[int, Numbers]] = []
        self.regimes.begin()
        self._feeds.begin()
        self._along.begin()
        self._through.begin()
        self.halves.begin()

    def finish(self) -> list[Rows]:
        """Return the numbers of the step, slopes over time included."""
        if self._doubtful:
            self._drop_doubtful()
        self.flow.count(self.calls, self._aside)
        rows, norms = reduce_gradients(self._gradients)
        several = norms is not None and len(rows[0].indices) < len(self._gradients)
        if norms is not None and several and self.flow.is_recurrent():
            last = self._pass_start
            rows += time_slopes([layer for layer, *_ in self._gradients[last:]], norms[last:])
        rows += reduce_outputs(self._outputs) + reduce_norms(self._norms) + self.regimes.finish()
        rows += self._feeds.finish(self._blueprint.layers, self.flow.edges, self.place)
        rows += self._along.finish() + self._through.finish() + self.halves.finish()
        if self._kept:
            rows.append(Rows(list(self._kept), ("drop_keep",), _kept_share(self._kept)))
        for layer, numbers in self._cells:
            names = tuple(name for name, _ in numbers)
            rows.append(Rows([layer], names, torch.stack([value for _, value in numbers])[:, None]))
        self.begin()
        return rows

    def backward_begins(self) -> None:
        """Tell apart the passes of one step: only within one, calls of a layer are steps of time."""
        self._pass_start = len(self._gradients)

    # -- what the hooks do ----------------------------------------------------------------------

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        outside = not (self.live and self.open) and torch.is_grad_enabled()
        if outside and self.entry is not None and not in_backward():
            # Called from outside any entry module known so far: it becomes one.
            self._guard(self.entry, module, args)
        if not self.tracing or not self.live:
            return
        layer = self._blueprint.layer_of.get(id(module))
        if layer is not None and (self.open or torch.is_grad_enabled()):
            self._guard(self._enter, layer, args)

    def _enter(self, layer: int, args: tuple[Any, ...]) -> None:
        if layer in self._blueprint.opened:
            return
        self._depth += 1
        if self._tracer is None:
            return
        if self._depth == 1:
            self._tracer.leaf, self._tracer.given = layer, args[0] if args else None
            self._link(self._tracer, layer, args)
        self._tracer.leaf_depth += 1

    def _link(self, tracer: Tracer, layer: int, values: object) -> None:
        """Note which layers feed one: what it is called with came from them, or what it gives if its parts are looked at."""
        for tensor in float_tensors(values, math.inf):
            wanted = tensor.requires_grad
            cut = torch.is_grad_enabled() and not wanted
            self.flow.link(tracer.layers_of(tensor), layer, cut=cut, wanted=wanted)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        key = id(module)
        layer, taught = self._blueprint.layer_of.get(key), torch.is_grad_enabled()
        if layer is not None and self.live and (self.open or taught):
            self._guard(self._leave, layer, module, args, output)
        elif layer is not None and not taught:
            self._aside.add(layer)
        if key in self.entries:
            self._guard(self.ended)

    def _leave(self, layer: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._step_out(layer)
        tensor = first_float(output)
        if in_backward():
            self._computed_again(layer, tensor)
            return
        if not self._counts(layer):
            return
        if layer not in self.place:
            self.place[layer] = len(self.order)
            self.order.append(layer)
            self._blueprint.gathered |= {id(p): layer for p in module.parameters(recurse=False)}
        self.calls[layer] = self.calls.get(layer, 0) + 1
        if tensor is None:
            return
        self.autocast = self.autocast or autocast_dtype(tensor.device.type)
        if self.tracing and self._tracer is not None:
            self._hand_on(self._tracer, layer, output)
        self._read(layer, module, args, tensor)
        self._through.take(layer, module, args, output)

    def _hand_on(self, tracer: Tracer, layer: int, output: Any) -> None:
        """Say that what a layer gives comes from it, and from its own parts where these were looked at."""
        if layer in self._blueprint.opened:
            self._link(tracer, layer, output)
        for item in float_tensors(output, math.inf):
            tracer.mark(item, layer)
            if torch.is_grad_enabled() and not item.requires_grad:
                self.flow.severed.add(layer)

    def _step_out(self, layer: int) -> None:
        if self.tracing and layer not in self._blueprint.opened:
            self._depth = max(0, self._depth - 1)
            if self._tracer is not None:
                self._tracer.leaf_depth = max(0, self._tracer.leaf_depth - 1)
                self._tracer.given = None

    def _counts(self, layer: int) -> bool:
        """Return whether a call is read: one without gradients only where nothing better was seen."""
        if torch.is_grad_enabled():
            if layer in self._doubtful:
                self._doubtful.discard(layer)
                self.calls.pop(layer, None)
            return True
        if layer in self.calls and layer not in self._doubtful:
            return False
        if layer not in self.place:
            self._fresh.add(layer)
        self._doubtful.add(layer)
        return True

    def _computed_again(self, layer: int, tensor: Tensor | None) -> None:
        """A checkpoint computes again what was seen before; one that kept no graph then has one now."""
        if layer in self._doubtful or layer in self._again:
            self._doubtful.discard(layer)
            self._again.add(layer)
            if tensor is not None and tensor.requires_grad and self._is_weighted(layer):
                tensor.register_hook(partial(self._on_gradient, layer))

    def _drop_doubtful(self) -> None:
        """Forget what ran without gradients and was not computed again: a fixed part, a teacher."""
        gone = self._doubtful
        for numbers in (self._outputs, self._norms, self._kept, self._feeds.samples):
            for layer in gone & numbers.keys():
                del numbers[layer]
        self._cells = [cell for cell in self._cells if cell[0] not in gone]
        self.regimes.drop(gone)
        if fresh := gone & self._fresh:
            self.flow.forget(fresh)
            self.order = [layer for layer in self.order if layer not in fresh]
            self.place = {layer: i for i, layer in enumerate(self.order)}

    def _is_weighted(self, layer: int) -> bool:
        info = self._blueprint.layers[layer]
        return info.kind in WEIGHTED or bool(info.params)

    def _read(
        self,
        layer: int,
        module: nn.Module,
        args: tuple[Any, ...],
        tensor: Tensor,
    ) -> None:
        count = self.calls[layer]
        kind = self._blueprint.layers[layer].kind
        weighted = self._is_weighted(layer)
        if weighted and tensor.requires_grad and count <= MAX_TIME_STEPS:
            tensor.register_hook(partial(self._on_gradient, layer))
            if self.reached is not None:
                self.reached.append(tensor)
        tensor = local(tensor)
        # A cell called for every time step is read at its powers of two: the last one counts.
        if count & (count - 1) or not is_dense(tensor):
            return
        if not weighted:
            self._read_regime(layer, kind, module, tensor)
            return
        axis = unit_axis(kind, tensor, self._blueprint.shapes(layer))
        self._outputs[layer] = unit_sample(tensor, axis, OUTPUT_ENTRIES)
        if layer in self.functional:
            self.regimes.take(layer, tensor, axis, self.functional[layer], is_input=True)
        self._read_input(layer, kind, module, args)

    def _read_input(self, layer: int, kind: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Read what the input of a layer tells: data, what a norm divides by, how attention is spread."""
        if self.calls[layer] == 1:
            self._feeds.take(layer, kind, args, leaves=self.reached is None)
        if kind == "norm" and args and isinstance(args[0], Tensor):
            self._read_norm(layer, module, local(args[0]))
        elif (
            kind == "attention"
            and isinstance(module, nn.MultiheadAttention)
            and len(args) >= 2
            and not any(map(is_sharded, module.parameters()))
        ):
            with torch.no_grad(), in_full_precision(args[0].device):
                self.add(layer, module_attention(module, args[0], args[1]))

    def _read_norm(self, layer: int, module: nn.Module, x: Tensor) -> None:
        sample = norm_sample(module, x)
        if sample is not None:
            self._norms[layer] = sample

    def normalize(self, layer: int, sample: NormSample | None) -> None:
        """Take what a normalization divides by that is no module of PyTorch's; of several in a step the first."""
        if sample is not None:
            self._norms.setdefault(layer, sample)

    def _read_regime(self, layer: int, kind: str, module: nn.Module, tensor: Tensor) -> None:
        """Read what a layer without weights can tell: its regime, or what a dropout keeps."""
        name = self._blueprint.layers[layer].activation
        if kind == "activation" and name is not None:
            self.regimes.take(layer, tensor, unit_axis(kind, tensor), name, is_input=False)
        elif kind == "dropout" and module.training:
            self._kept[layer] = flat_view(tensor) != 0

    def reads(self, layer: int) -> bool:
        """Return whether a function applied to the output of this layer was read there in this step."""
        return self.regimes.has(layer)

    def add(self, layer: int, numbers: Numbers) -> None:
        """Take numbers that were computed for a layer elsewhere."""
        if numbers:
            self._cells.append((layer, numbers))

    def _on_gradient(self, layer: int, gradient: Tensor | None) -> None:
        # Of several outputs of one operation those that nobody used have none.
        if gradient is not None and self.live and not (is_transformed() or is_batched(gradient)):
            self._guard(self._take_gradient, layer, gradient)

    def _take_gradient(self, layer: int, gradient: Tensor) -> None:
        gradient = local(gradient)
        if gradient.layout == torch.strided and gradient.numel():
            self._gradients.append((layer, memory_sample(gradient), gradient.numel()))
            self._along.take(layer, self._blueprint.layers[layer].kind, gradient)
            self.halves.note(layer, gradient)


def _nothing() -> None:
    """Wait for somebody to care."""


def _kept_share(kept: dict[int, Tensor]) -> Tensor:
    return stack_together([mask.float().mean() for mask in kept.values()])[None]
