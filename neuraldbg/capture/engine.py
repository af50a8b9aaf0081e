"""The patches of PyTorch, one for all captures: autograd's engine, the gradient scaler, the compiler.

The engine's entry is the function through which ``backward`` and ``grad`` call it; a scaler hides the loss
behind a factor, and the optimizer's step behind a check; what is compiled hides all that happens inside.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.amp import GradScaler

from neuraldbg.capture.compiled import is_compiler_at_work, is_hidden, original

__all__ = ["Listener", "join", "leave"]

# What `torch.autograd.backward` and `torch.autograd.grad` call by this name in their own module: one level
# below them, so that a loop that imported these names earlier is seen too.
ENTRY = "_engine_run_backward"


class Listener(Protocol):
    """Is told of every backward pass that the loop itself asks for.

    Attributes
    ----------
    awaits_end
        Whether the pass that has just begun is to be told when it ends …
    has_ended
        … or otherwise this is to be set.
    """

    awaits_end: bool
    has_ended: bool

    def backward_begins(self, outputs: Any) -> None:
        """Take what ``backward`` starts from; the graph is still whole."""

    def backward_ends(self) -> None:
        """Gradients have been accumulated."""

    def grad_called(self, outputs: Any) -> None:
        """Take what ``autograd.grad`` starts from."""

    def scaled(self, scaler: GradScaler, loss: Any, result: Any) -> None:
        """A gradient scaler multiplied a loss."""

    def scaler_begins(self) -> None:
        """A gradient scaler is asked for a step."""

    def scaler_ends(self, optimizer: Any) -> None:
        """It has taken the step, or not."""

    def compiles(self) -> None:
        """Something was given to ``torch.compile``."""

    def region_begins(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A compiled module is about to be called."""

    def region_ends(self, module: nn.Module, result: Any) -> None:
        """It has returned."""

    def await_steps(self, *, beginnings: bool) -> None:
        """Be told when optimizers begin to step, or only when they have stepped."""


_listeners: list[Listener] = []
# Owner and name of everything patched: what was there, and what we put there.
_patches: dict[tuple[Any, str], tuple[Any, Any]] = {}


def join(listener: Listener) -> None:
    """Begin to tell a listener; the first one puts the patches on."""
    if not _listeners:
        _patch(torch.autograd, ENTRY, _over_engine)
        _patch(GradScaler, "scale", _over_scale)
        _patch(GradScaler, "step", _over_step)
        _patch(torch, "compile", _over_compile)
        _patch(nn.Module, "compile", _over_compile)
        _patch_wrapper()
    _listeners.append(listener)


def _patch(owner: Any, name: str, over: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    found = getattr(owner, name)
    _patches[owner, name] = (found, over(found))
    setattr(owner, name, _patches[owner, name][1])


def _patch_wrapper() -> None:
    """Patch the wrapper of compiled modules, once the part of PyTorch that has it was loaded."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    wrapper = getattr(frames, "OptimizedModule", None)
    if wrapper is not None and (wrapper, "__call__") not in _patches:
        _patch(wrapper, "__call__", _over_call)


def leave(listener: Listener) -> None:
    """Tell a listener no more; the last one takes the patches off, in whatever order they leave.

    If somebody patched on top of us meanwhile, theirs stays and ours becomes a plain call-through.
    """
    if listener in _listeners:
        _listeners.remove(listener)
    if _listeners:
        return
    for (owner, name), (found, ours) in _patches.items():
        if getattr(owner, name) is ours:
            setattr(owner, name, found)
    _patches.clear()


def _over_scale(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def scale(self: GradScaler, outputs: Any) -> Any:
        result = inner(self, outputs)
        for listener in tuple(_listeners):
            listener.scaled(self, outputs, result)
        return result

    return scale


def _over_step(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def step(self: GradScaler, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        listeners = tuple(_listeners)
        for listener in listeners:
            listener.scaler_begins()
        result = inner(self, optimizer, *args, **kwargs)
        for listener in listeners:
            listener.scaler_ends(optimizer)
        return result

    return step


def _over_engine(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        within = torch._C._current_graph_task_id() != -1  # noqa: SLF001 - a backward within a backward
        if not _listeners or within or is_compiler_at_work():
            return inner(outputs, *args, **kwargs)
        listeners = tuple(_listeners)
        if not kwargs.get("accumulate_grad", True):
            for listener in listeners:
                listener.grad_called(outputs)
            return inner(outputs, *args, **kwargs)
        for listener in listeners:
            listener.backward_begins(outputs)
        result = inner(outputs, *args, **kwargs)
        for listener in listeners:
            if listener.awaits_end:
                listener.backward_ends()
            listener.has_ended = True
        return result

    return run


def _over_compile(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def compiles(*args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        if _listeners:
            _patch_wrapper()
        for listener in tuple(_listeners):
            listener.compiles()
        return result

    return compiles


def _over_call(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not _listeners or is_hidden():
            return inner(self, *args, **kwargs)
        listeners, module = tuple(_listeners), original(self)
        for listener in listeners:
            listener.region_begins(module, args, kwargs)
        result = inner(self, *args, **kwargs)
        for listener in listeners:
            listener.region_ends(module, result)
        return result

    return call
