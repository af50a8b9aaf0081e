"""What happened inside a compiled part, worked out by running its last call again without the compiler.

The call that the loop made is not touched: the same arguments go through a replica on the same parameters, under
the random state and the precision of that call, once the backward pass is over and its memory is free again. The
gradient that came back to the outputs is carried on through the replica. Numbers of PyTorch's compiler and of its
plain operations differ in their last bits, and so may the masks of dropout: what is read is a statistic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuraldbg.capture.compiled import Region
from neuraldbg.capture.labels import Origin
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.losses import made_by
from neuraldbg.capture.notes import Notes
from neuraldbg.capture.reduce import float_tensors, own_gradients
from neuraldbg.capture.replica import Replica
from neuraldbg.capture.topology import Blueprint
from neuraldbg.capture.trace import Tracer

__all__ = ["Replay"]

DEPTH = 3
# Arguments of other classes may remember that they were used: a second call could change them.
PLAIN = (type(None), bool, int, float, complex, str, bytes, slice, range)
TORCH = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format)
# Wrappers whose forward pass talks to other processes.
TALKATIVE = ("DistributedDataParallel", "FullyShardedDataParallel")


@dataclass(slots=True, eq=False)
class _Ambient:
    """The random state and precision of a call."""

    device: torch.device
    cpu: Tensor
    gpu: Tensor | None
    python: Any
    numpy: Any
    autocast: torch.dtype | None

    @staticmethod
    def now(module: nn.Module) -> _Ambient:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        on = torch.is_autocast_enabled(device.type)
        return _Ambient(
            device=device,
            cpu=torch.get_rng_state(),
            gpu=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            python=random.getstate(),
            numpy=np.random.get_state(),  # noqa: NPY002 - the global state is what a model draws from
            autocast=torch.get_autocast_dtype(device.type) if on else None,
        )

    def draw(self) -> None:
        """Make the random state that of the call."""
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002 - as above


@dataclass(slots=True, eq=False)
class _Call:
    """One call of a compiled part, from outside."""

    region: Region
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ambient: _Ambient
    place: int
    versions: list[tuple[Tensor, int]]
    sources: list[Origin]
    gradients: dict[int, Tensor] = field(default_factory=dict)


class Replay:
    """Keeps the first call of every compiled part in a sampled step, and runs it again.

    Parameters
    ----------
    blueprint, watch, tracer, notes
        Where what is seen goes.
    guard
        Runs work of ours; an error disarms capture.

    Attributes
    ----------
    broken
        Layers that could not be looked at, and why.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        watch: LayerWatch,
        tracer: Tracer,
        notes: Notes,
        guard: Callable[..., None],
    ) -> None:
        self._blueprint = blueprint
        self._watch = watch
        self._tracer = tracer
        self._notes = notes
        self._guard = guard
        self.broken: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}

    def begin(self) -> None:
        """Forget what the step before left."""
        self._calls = {}

    def take(self, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A compiled part is about to be called."""
        if region.broken or id(region) in self._calls:
            return
        if why := _obstacle(region.module, (args, kwargs)):
            self._give_up(region, why)
            return
        tensors = list(_tensors((args, kwargs)))
        self._calls[id(region)] = _Call(
            region,
            args,
            kwargs,
            _Ambient.now(region.module),
            len(self._watch.order),
            [(t, t._version) for t in tensors],  # noqa: SLF001 - the public way to see a write
            [self._tracer.origin_of(t) for t in tensors],
        )

    def result(self, region: Region, result: Any) -> None:
        """It has returned: wait for the gradient of its outputs, and say which layers they came from."""
        outputs = list(float_tensors(result, DEPTH))
        for tensor, origin in zip(outputs, region.outputs, strict=False):
            self._tracer.label(tensor, origin)
        call = self._calls.get(id(region))
        if call is None or call.gradients:
            return
        for place, tensor in enumerate(outputs):
            if tensor.requires_grad:
                tensor.register_hook(partial(self._guard, _keep, call.gradients, place))

    def run(self) -> None:
        """The backward pass is over: work out what happened inside."""
        # The last one first: layers go to their place in the order, and those before it do not move.
        for call in reversed(self._calls.values()):
            if call.gradients and all(t._version == v for t, v in call.versions):  # noqa: SLF001 - as above
                try:
                    self._again(call)
                except Exception as error:  # noqa: BLE001 - the user's code may refuse; it is not ours to say why
                    why = f"running it again failed: {type(error).__name__}: {error}"
                    self._give_up(call.region, why)
        self._calls = {}

    def _give_up(self, region: Region, why: str) -> None:
        region.broken = why
        layer_of = self._blueprint.layer_of
        for module in region.module.modules():
            if id(module) in layer_of:
                self.broken[layer_of[id(module)]] = why

    def _again(self, call: _Call) -> None:
        copy = Replica(call.region.module)
        layer_of, watch = self._blueprint.layer_of, self._watch
        known = {key: layer_of[key] for key in copy.of if key in layer_of}
        order, watch.order = watch.order, []
        with ExitStack() as stack:
            stack.callback(_forget, layer_of, [id(copy.of[key]) for key in known])
            layer_of |= {id(copy.of[key]): layer for key, layer in known.items()}
            stack.callback(self._merge, order, call.place)
            stack.enter_context(_as_then(call.ambient))
            self._run(copy.root, call, stack)
        if copy.undo():
            self._give_up(call.region, "it writes into buffers of other modules")

    def _run(self, module: nn.Module, call: _Call, stack: ExitStack) -> None:
        watch, tracer, notes = self._watch, self._tracer, self._notes
        inputs = iter(call.sources)

        def again(tensor: Tensor) -> Tensor:
            fresh = tensor.detach().requires_grad_(tensor.requires_grad)
            tracer.label(fresh, next(inputs))
            return fresh

        args, kwargs = _rebuilt((call.args, call.kwargs), again)
        stack.callback(setattr, watch, "live", watch.live)
        stack.callback(setattr, notes, "inside", notes.inside)
        stack.callback(watch.unhook, watch.hook_all())
        stack.callback(setattr, watch, "open", watch.open)
        watch.live, watch.open, notes.inside, watch.reached = True, True, 1, []
        stack.callback(setattr, watch, "reached", None)
        with tracer.awake(tracing=watch.tracing):
            result = module(*args, **kwargs)
            tracer.rest()
        outputs = list(float_tensors(result, DEPTH))
        call.region.outputs = [tracer.origin_of(t)._replace(maker=made_by(t)) for t in outputs]
        pairs = [(t, g) for i, t in enumerate(outputs) if (g := call.gradients.get(i)) is not None]
        pairs = [(t, g) for t, g in pairs if t.requires_grad and t.shape == g.shape]
        if pairs and watch.reached:
            roots, gradients = zip(*pairs, strict=True)
            own_gradients(roots, watch.reached, gradients)

    def _merge(self, order: list[int], place: int) -> None:
        """Put the layers of a part where it was called among the others."""
        watch, known = self._watch, set(order)
        order[place:place] = [layer for layer in watch.order if layer not in known]
        watch.order = order
        watch.place = {layer: i for i, layer in enumerate(order)}


def _keep(gradients: dict[int, Tensor], place: int, gradient: Tensor | None) -> None:
    # A copy: the engine may go on to add to the tensor that it hands over. What nobody used has none.
    if gradient is not None:
        gradients.setdefault(place, gradient.detach().clone())


def _forget(layer_of: dict[int, int], keys: list[int]) -> None:
    for key in keys:
        layer_of.pop(key, None)


@contextmanager
def _as_then(ambient: _Ambient) -> Iterator[None]:
    """Be in the random state and precision of a call, with nothing compiled; afterwards as before."""
    before = _Ambient.now(nn.Identity())
    before.device = ambient.device
    before.gpu = None if ambient.gpu is None else torch.cuda.get_rng_state(ambient.device)
    with ExitStack() as stack:
        stack.callback(before.draw)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(
            torch.autocast(
                ambient.device.type,
                dtype=ambient.autocast,
                enabled=ambient.autocast is not None,
                cache_enabled=False,
            )
        )
        ambient.draw()
        yield


def _obstacle(module: nn.Module, values: tuple[Any, ...]) -> str:
    """Return why a part cannot be called again, empty if it can."""
    for part in module.modules():
        name = type(part).__name__
        if name in TALKATIVE or type(part).__module__.startswith("torch.distributed"):
            return f"{name} talks to other processes"
    if any(hasattr(p, "placements") for p in module.parameters()):
        return "its parameters are spread over processes"
    odd = next(_odd(values), None)
    return "" if odd is None else f"it was given a {type(odd).__name__}"


def _odd(value: Any) -> Iterator[Any]:
    """Yield arguments that may remember that they were used."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _odd(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _odd(item)
    elif not isinstance(value, (Tensor, *PLAIN, *TORCH)):
        yield value


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors among arguments, in the order of ``_rebuilt``."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _rebuilt(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return arguments with every tensor replaced."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        items = [_rebuilt(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        fresh = {key: _rebuilt(item, change) for key, item in value.items()}
        return fresh if type(value) is dict else type(value)(fresh)
    return value
