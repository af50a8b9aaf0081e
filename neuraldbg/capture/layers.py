"""Hooks on layers during a sampled step: one pair of global hooks, nothing written on any module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from neuraldbg.capture.attention import module_attention
from neuraldbg.capture.reduce import (
    Numbers,
    first_float,
    gradient_numbers,
    in_full_precision,
    output_numbers,
    regime_numbers,
)
from neuraldbg.capture.trace import Tracer

__all__ = ["LayerWatch"]

# How many sampled batches in a row a unit must be silent in to be called dead.
SILENT_BATCHES = 5
MAX_TIME_STEPS = 64
# Kinds whose outputs and output gradients are measured; others only tell their regime.
WEIGHTED = frozenset({"linear", "conv", "recurrent", "attention", "embedding", "norm"})


class LayerWatch:
    """Reads every layer's output and output gradient while it is switched on.

    Parameters
    ----------
    modules
        ``id`` of a module to its layer index.
    kinds
        Kind of every layer.
    names
        Nonlinearity of every layer that is one.
    tracer
        Told which tensor left which layer; None where function modes cannot be used.
    guard
        Runs work of ours; an error disarms capture.
    """

    def __init__(
        self,
        modules: dict[int, int],
        kinds: list[str],
        names: list[str | None],
        tracer: Tracer | None,
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        self.live = False
        self.cells: list[tuple[str, int, Tensor]] = []
        self.calls: dict[int, int] = {}
        self.edges: set[tuple[int, int]] = set()
        self.order: list[int] = []
        self.entry: Callable[[nn.Module], None] | None = None
        self._modules = modules
        self._kinds = kinds
        self._names = names
        self._tracer = tracer
        self._guard = guard
        self._handles: list[RemovableHandle] = []
        self._silent: dict[int, list[Tensor]] = {}
        self._time: dict[int, list[Tensor]] = {}
        self._depth = 0
        self._ran: set[int] = set()

    def switch_on(self) -> None:
        """Register the pair of global hooks if they are not there."""
        if not self._handles:
            self._handles = [
                register_module_forward_pre_hook(self._before),
                register_module_forward_hook(self._after, always_call=True),
            ]

    def switch_off(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def begin(self) -> None:
        """Forget what the step before left."""
        self.cells = []
        self.calls = {}
        self._time = {}
        self._depth = 0

    def finish(self) -> list[tuple[str, int, Tensor]]:
        """Return the cells of the step, slopes over time included."""
        for layer, norms in self._time.items():
            if len(norms) >= 3:
                self.cells.append(("time_grad_slope", layer, _time_slope(norms)))
        cells, self.cells = self.cells, []
        return cells

    def _is_leaf(self, module: nn.Module) -> int | None:
        return self._modules.get(id(module)) if self.live else None

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.entry is not None and not self.live and torch.is_grad_enabled():
            # Called from outside any entry module known so far: it becomes one.
            self.entry(module)
        layer = self._is_leaf(module)
        if layer is None or not torch.is_grad_enabled():
            return
        self._guard(lambda: self._enter(layer, args))

    def _enter(self, layer: int, args: tuple[Any, ...]) -> None:
        self._depth += 1
        if self._tracer is None:
            return
        if self._depth == 1:
            for tensor in (t for a in args for t in _tensors(a)):
                for source in self._tracer.layers_of(tensor):
                    if source != layer:
                        self.edges.add((source, layer))
        self._tracer.leaf_depth += 1

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        layer = self._is_leaf(module)
        if layer is None or not torch.is_grad_enabled():
            return
        self._guard(lambda: self._leave(layer, module, args, output))

    def _leave(self, layer: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._tracer is not None:
            self._tracer.leaf_depth = max(0, self._tracer.leaf_depth - 1)
        if torch._C._current_graph_task_id() != -1:  # noqa: SLF001 - the only sign of a recomputation
            return
        tensor = first_float(output)
        if layer not in self._ran:
            self._ran.add(layer)
            self.order.append(layer)
        self.calls[layer] = self.calls.get(layer, 0) + 1
        if tensor is None:
            return
        if self._tracer is not None:
            for item in _tensors(output):
                self._tracer.mark(item, layer)
        self._read(layer, module, args, tensor)

    def _read(
        self,
        layer: int,
        module: nn.Module,
        args: tuple[Any, ...],
        tensor: Tensor,
    ) -> None:
        count = self.calls[layer]
        if self._kinds[layer] not in WEIGHTED and not module._parameters:  # noqa: SLF001 - no cheaper way to ask
            if count & (count - 1) == 0:
                with torch.no_grad(), in_full_precision(tensor.device):
                    self._add(layer, self._regime_only(layer, module, tensor))
            return
        if tensor.requires_grad and count <= MAX_TIME_STEPS:
            tensor.register_hook(self._gradient_reader(layer))
        # A cell called for every time step is read at its powers of two: the last one counts.
        if count & (count - 1):
            return
        with torch.no_grad(), in_full_precision(tensor.device):
            self._add(layer, self._numbers(layer, module, args, tensor))

    def _numbers(
        self, layer: int, module: nn.Module, args: tuple[Any, ...], tensor: Tensor
    ) -> Numbers:
        kind = self._kinds[layer]
        numbers = output_numbers(tensor, _unit_axis(kind, tensor))
        if kind == "norm" and args and isinstance(args[0], Tensor):
            numbers += _norm_numbers(module, args[0])
        elif kind == "attention" and isinstance(module, nn.MultiheadAttention) and len(args) >= 2:
            numbers += module_attention(module, args[0], args[1])
        return numbers

    def _regime_only(self, layer: int, module: nn.Module, tensor: Tensor) -> Numbers:
        """Return what a layer without weights can tell: its regime, or what a dropout keeps."""
        kind, name = self._kinds[layer], self._names[layer]
        if kind == "activation" and name is not None:
            return self.regime(layer, tensor, _unit_axis(kind, tensor), name, is_input=False)
        if kind == "dropout" and module.training:
            return [("drop_keep", (tensor.detach() != 0).float().mean())]
        return []

    def regime(
        self, layer: int, tensor: Tensor, axis: int, name: str, *, is_input: bool
    ) -> Numbers:
        """Return saturated and dead shares; dead means silent in each of the last few sampled batches."""
        numbers, silent = regime_numbers(tensor, axis, name, is_input=is_input)
        if silent is None:
            return numbers
        history = self._silent.setdefault(layer, [])
        if history and history[-1].shape != silent.shape:
            history.clear()
        if self.calls.get(layer, 0) > 1 and history:
            history[-1] = history[-1] & silent
        else:
            history.append(silent)
        del history[:-SILENT_BATCHES]
        dead = torch.stack(history).all(dim=0)
        return [
            *numbers,
            ("inactive_share", silent.float().mean()),
            ("dead_share", dead.float().mean()),
        ]

    def _add(self, layer: int, numbers: Numbers) -> None:
        self.cells += [(name, layer, value) for name, value in numbers]

    def add(self, layer: int, numbers: Numbers) -> None:
        """Take numbers that the tracer computed for a layer."""
        self._add(layer, numbers)

    def _gradient_reader(self, layer: int) -> Callable[[Tensor], None]:
        def read(gradient: Tensor) -> None:
            if self.live:
                self._guard(lambda: self._read_gradient(layer, gradient))

        return read

    def _read_gradient(self, layer: int, gradient: Tensor) -> None:
        with torch.no_grad(), in_full_precision(gradient.device):
            numbers = gradient_numbers(gradient)
            self._add(layer, numbers)
            if self.calls.get(layer, 0) >= 3:
                # Gradients of a cell arrive last call first.
                self._time.setdefault(layer, []).append(numbers[0][1])


def _time_slope(norms: list[Tensor]) -> Tensor:
    """Return minus the slope of log norm per step back in time: positive when gradients vanish in time."""
    logs = torch.stack(norms).clamp_min(1e-30).log()
    x = torch.arange(logs.numel(), dtype=logs.dtype, device=logs.device)
    x = x - x.mean()
    return -(x * (logs - logs.mean())).sum() / (x * x).sum()


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in _tensors(v)]
    if isinstance(value, dict):
        return [t for v in value.values() for t in _tensors(v)]
    return []


def _unit_axis(kind: str, tensor: Tensor) -> int:
    if tensor.dim() >= 4 or (tensor.dim() == 3 and kind == "conv"):
        return 1
    return -1


def _norm_numbers(module: nn.Module, x: Tensor) -> Numbers:
    """Return how many values stand behind a statistic, and how many variances are of the size of epsilon."""
    eps = float(getattr(module, "eps", 1e-5) or 1e-5)
    z = x.detach().float()
    if isinstance(module, nn.LayerNorm):
        size = len(module.normalized_shape)
        z = z.flatten(-size)
        var = z[:256].var(dim=-1, correction=0)
        count = z.shape[-1]
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and z.dim() >= 2:  # noqa: SLF001 - common base
        if not module.training:
            return []
        flat = z.transpose(0, 1).flatten(1)
        var, count = flat.var(dim=1, correction=0), flat.shape[1]
    else:
        return []
    numbers = [
        ("norm_var_min", (var < 10 * eps).float().mean()),
        ("norm_count", torch.tensor(float(count), device=z.device)),
    ]
    running = getattr(module, "running_var", None)
    if isinstance(running, Tensor) and running.shape == var.shape:
        gap = ((var + eps).log() - (running.detach().float() + eps).log()).abs().median()
        numbers.append(("norm_stat_gap", gap))
    return numbers
