"""A second module tree on the same parameters, which may be called without the first one noticing.

Parameters are shared and buffers copied; hooks stay behind. Attributes are copied as far as they hold modules;
any other object is shared.
"""

from __future__ import annotations

from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.compiled import original

__all__ = ["Replica"]

# What a module calls around its forward pass is the user's, and is not called twice.
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
COMPILED = "_compiled_call_impl"
RUNNING = nn.modules.batchnorm._NormBase  # noqa: SLF001 - the only common base of layers with running statistics
# A longer list holds words or numbers, not modules.
LONGEST = 256


class Replica:
    """A copy of a module for one call.

    Parameters
    ----------
    module
        What is copied.

    Attributes
    ----------
    of
        ``id`` of every original module to its copy.
    root
        The copy of ``module``.
    """

    def __init__(self, module: nn.Module) -> None:
        originals = [m for m in module.modules() if original(m) is m]
        self.of = {id(m): object.__new__(type(m)) for m in originals}
        self.root: nn.Module = self.of[id(original(module))]
        self._buffers: dict[int, tuple[Tensor, int, Tensor]] = {}
        for m in originals:
            self._fill(m, self.of[id(m)])

    def _fill(self, module: nn.Module, copy: nn.Module) -> None:
        state = {name: self._value(value) for name, value in module.__dict__.items()}
        state["_parameters"] = module._parameters.copy()  # noqa: SLF001 - a module is copied attribute by attribute
        state["_buffers"] = {n: self._buffer(b) for n, b in module._buffers.items()}  # noqa: SLF001 - as above
        state["_modules"] = {n: self._module(m) for n, m in module._modules.items()}  # noqa: SLF001 - as above
        state |= {name: OrderedDict() for name in HOOKS if name in state}
        state.pop(COMPILED, None)
        if isinstance(module, RUNNING):
            # Running statistics have taken this batch in already.
            state["momentum"] = 0.0
        copy.__dict__.update(state)

    def _module(self, module: nn.Module | None) -> nn.Module | None:
        return None if module is None else self.of.get(id(original(module)), module)

    def _buffer(self, buffer: Tensor | None) -> Tensor | None:
        if buffer is None:
            return None
        if id(buffer) not in self._buffers:
            copy = buffer.detach().clone()
            self._buffers[id(buffer)] = buffer, buffer._version, copy  # noqa: SLF001 - the public way to see a write
        return self._buffers[id(buffer)][2]

    def _value(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Tensor):
            # What an earlier pass left has a graph that is gone.
            return value if value.is_leaf else value.detach()
        if isinstance(value, MethodType) and id(value.__self__) in self.of:
            return MethodType(value.__func__, self.of[id(value.__self__)])
        if type(value) in (list, tuple, set):
            items = map(self._value, value) if len(value) <= LONGEST else value
            return type(value)(items)
        if type(value) in (dict, OrderedDict):
            return type(value)((key, self._value(item)) for key, item in value.items())
        return value

    @torch.no_grad()
    def undo(self) -> bool:
        """Put back buffers of the original that the copy reached after all; return whether there were any."""
        reached = [
            (buffer, copy)
            for buffer, version, copy in self._buffers.values()
            if buffer._version != version  # noqa: SLF001 - as above
        ]
        for buffer, copy in reached:
            buffer.copy_(copy)
        return bool(reached)
