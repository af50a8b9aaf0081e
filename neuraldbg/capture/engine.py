"""One patch for all captures: the function through which ``backward`` and ``grad`` enter autograd's engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import torch

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


_listeners: list[Listener] = []
_original: Callable[..., Any] | None = None
_patch: Callable[..., Any] | None = None


def join(listener: Listener) -> None:
    """Begin to tell a listener; the first one puts the patch on."""
    global _original, _patch  # noqa: PLW0603 - the engine's entry is global as well
    if not _listeners:
        _original = getattr(torch.autograd, ENTRY)
        _patch = _over(_original)
        setattr(torch.autograd, ENTRY, _patch)
    _listeners.append(listener)


def leave(listener: Listener) -> None:
    """Tell a listener no more; the last one takes the patch off, in whatever order they leave.

    If somebody patched on top of us meanwhile, theirs stays and ours becomes a plain call-through.
    """
    if listener not in _listeners:
        return
    _listeners.remove(listener)
    if not _listeners and getattr(torch.autograd, ENTRY) is _patch:
        setattr(torch.autograd, ENTRY, _original)


def _over(original: Callable[..., Any]) -> Callable[..., Any]:
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
