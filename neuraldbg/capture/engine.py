"""The patches of PyTorch, one for all captures: autograd's engine and the gradient scaler.

The engine's entry is the function through which ``backward`` and ``grad`` call it; a scaler hides the loss
behind a factor, and the optimizer's step behind a check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.amp import GradScaler

__all__ = ["Listener", "join", "leave"]

# What `torch.autograd.backward` and `torch.autograd.grad` call by this name in their own module: one level
# below them, so that a loop that imported these names earlier is seen too.
ENTRY = "_engine_run_backward"


class Listener(Protocol):
    """Is told of every backward pass that the loop itself asks for."""

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


_listeners: list[Listener] = []
# Owner and name of everything patched: what was there, and what we put there.
_patches: dict[tuple[Any, str], tuple[Any, Any]] = {}


def join(listener: Listener) -> None:
    """Begin to tell a listener; the first one puts the patches on."""
    if not _listeners:
        for owner, name, over in (
            (torch.autograd, ENTRY, _over_engine),
            (GradScaler, "scale", _over_scale),
            (GradScaler, "step", _over_step),
        ):
            original = getattr(owner, name)
            _patches[owner, name] = (original, over(original))
            setattr(owner, name, _patches[owner, name][1])
    _listeners.append(listener)


def leave(listener: Listener) -> None:
    """Tell a listener no more; the last one takes the patches off, in whatever order they leave.

    If somebody patched on top of us meanwhile, theirs stays and ours becomes a plain call-through.
    """
    if listener in _listeners:
        _listeners.remove(listener)
    if _listeners:
        return
    for (owner, name), (original, ours) in _patches.items():
        if getattr(owner, name) is ours:
            setattr(owner, name, original)
    _patches.clear()


def _over_scale(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def scale(self: GradScaler, outputs: Any) -> Any:
        result = original(self, outputs)
        for listener in tuple(_listeners):
            listener.scaled(self, outputs, result)
        return result

    return scale


def _over_step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def step(self: GradScaler, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        listeners = tuple(_listeners)
        for listener in listeners:
            listener.scaler_begins()
        result = original(self, optimizer, *args, **kwargs)
        for listener in listeners:
            listener.scaler_ends(optimizer)
        return result

    return step


def _over_engine(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not _listeners or torch._C._current_graph_task_id() != -1:  # noqa: SLF001 - a backward within a backward
            return original(outputs, *args, **kwargs)
        listeners = tuple(_listeners)
        if not kwargs.get("accumulate_grad", True):
            for listener in listeners:
                listener.grad_called(outputs)
            return original(outputs, *args, **kwargs)
        for listener in listeners:
            listener.backward_begins(outputs)
        result = original(outputs, *args, **kwargs)
        for listener in listeners:
            listener.backward_ends()
        return result

    return run
