"""The patches of PyTorch, one for all captures: autograd's engine, optimizers, the gradient scaler, the compiler.

The engine's entry is the function through which ``backward`` and ``grad`` call it; a scaler hides the loss
behind a factor, and the optimizer's step behind a check; what is compiled hides all that happens inside.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from threading import RLock, get_ident
from typing import Any, Protocol

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import optimizer as torch_optimizer
from torch.utils.hooks import RemovableHandle

from neuraldbg.capture.compiled import WRAPPED, is_hidden, is_private
from neuraldbg.capture.hooks import put_back, state_without_ours, take_off
from neuraldbg.capture.reduce import is_own_gradient
from neuraldbg.capture.turns import Turns

__all__ = ["Listener", "await_steps", "join", "leave"]

# What `torch.autograd.backward` and `torch.autograd.grad` call by this name in their own module: one level
# below them, so that a loop that imported these names earlier is seen too.
ENTRY = "_engine_run_backward"
# The part of the compiler that Python asks at every call.
frames = torch._C._dynamo.eval_frame  # noqa: SLF001 - there is no public way to ask


class Listener(Protocol):
    """Is told of every backward pass that the loop itself asks for.

    Attributes
    ----------
    awaits_end
        Whether the pass that has just begun is to be told when it ends …
    has_ended
        … or otherwise this is to be set.
    looks_closely
        Whether what compiled parts return is looked at.
    turns
        Which thread trains the model: gradients that another one is at work on must not be looked at.
    beginnings
        Whether it is told when optimizers begin to step; that they have stepped it is told always.
    """

    awaits_end: bool
    has_ended: bool
    looks_closely: bool
    turns: Turns
    beginnings: bool

    def trains(self, outputs: Any) -> bool:
        """Return whether a backward pass from there, in a thread not seen to train the model, is to be told."""

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

    def broke(self, error: Exception) -> None:
        """Something of ours went wrong outside of it: it has to go."""

    def await_steps(self, *, beginnings: bool) -> None:
        """Be told when optimizers begin to step, or only when they have stepped."""

    def step_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer, of whatever model, is about to step."""

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """It has stepped."""


_listeners: list[Listener] = []
# Owner and name of everything patched: what was there, and what we put there.
_patches: dict[tuple[Any, str], tuple[Any, Any]] = {}
# Those of them that the owner had from a class that it derives from.
_inherited: set[tuple[Any, str]] = set()
# Our hooks on every optimizer, and the threads in which one has stepped. PyTorch goes through its hooks one by one:
# to add or remove some while another thread does so would end that thread's step with an error.
_hooks: dict[str, RemovableHandle] = {}
_steppers: set[int] = set()
_lock = RLock()


def join(listener: Listener) -> None:
    """Begin to tell a listener; the first one puts the patches on."""
    with _lock:
        if not _listeners:
            _patch_all()
        _listeners.append(listener)
        await_steps()


def _patch_all() -> None:
    _patch(torch.autograd, ENTRY, _over_engine)
    _patch(GradScaler, "scale", _over_scale)
    _patch(GradScaler, "step", _over_step)
    _patch(torch, "compile", _over_compile)
    _patch(nn.Module, "compile", _over_compile)
    _patch(nn.Module, "__getstate__", _over_state)
    if hasattr(torch.jit, "_recursive"):
        # What `torch.jit.script` calls, as long as there is one.
        _patch(torch.jit._recursive, "create_script_module", _over_scripting)  # noqa: SLF001 - as above
    _patch_wrapper()
    _hooks["ends"] = torch_optimizer.register_optimizer_step_post_hook(_told_of_stepped)


def await_steps() -> None:
    """Put the hook on the beginnings of steps there if a listener wants it, and away if that is safe."""
    with _lock:
        wanted = any(listener.beginnings for listener in _listeners)
        if wanted and "begins" not in _hooks:
            _hooks["begins"] = torch_optimizer.register_optimizer_step_pre_hook(_told_of_step)
        elif not wanted and "begins" in _hooks and len(_steppers) < 2:
            _hooks.pop("begins").remove()


def _told_of_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    if frames.get_eval_frame_callback() is not None:
        _uncompiled(_told_of_step, optimizer)
        return
    _steppers.add(get_ident())
    for listener in tuple(_listeners):
        if listener.beginnings:
            listener.step_begins(optimizer)


def _told_of_stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    if frames.get_eval_frame_callback() is not None:
        _uncompiled(_told_of_stepped, optimizer)
        return
    _steppers.add(get_ident())
    for listener in tuple(_listeners):
        listener.step_ends(optimizer)


def _uncompiled(hook: Callable[..., None], optimizer: torch.optim.Optimizer) -> None:
    """Call a hook as it is: the compiler takes steps of optimizers apart, and would go on into ours."""
    before = frames.set_eval_frame(None)
    try:
        hook(optimizer)
    finally:
        frames.set_eval_frame(before)


def _keep_compiler_out(*hooks: Any) -> None:
    """Have the compiler call hooks and not look into them; its own decorator takes a second to import."""
    for hook in hooks:
        hook._torchdynamo_disable = True  # noqa: SLF001 - what that decorator sets
        if hasattr(frames, "set_code_exec_strategy"):
            # As a frame of its own, too, it is to run as it is.
            skip = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.DEFAULT)  # noqa: SLF001 - as above
            frames.set_code_exec_strategy(hook.__code__, skip)


_keep_compiler_out(_told_of_step, _told_of_stepped, _uncompiled)


def _patch(owner: Any, name: str, over: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    found = getattr(owner, name)
    if name not in vars(owner):
        _inherited.add((owner, name))
    _patches[owner, name] = (found, over(found))
    setattr(owner, name, _patches[owner, name][1])


def _patch_wrapper() -> None:
    """Patch the wrapper of compiled modules, once the part of PyTorch that has it was loaded."""
    loaded = sys.modules.get("torch._dynamo.eval_frame")
    wrapper = getattr(loaded, "OptimizedModule", None)
    if wrapper is not None and (wrapper, "__call__") not in _patches:
        _patch(wrapper, "__call__", _over_call)


def leave(listener: Listener) -> None:
    """Tell a listener no more; the last one takes the patches off, in whatever order they leave.

    If somebody patched on top of us meanwhile, theirs stays and ours becomes a plain call-through.
    """
    with _lock:
        if listener in _listeners:
            _listeners.remove(listener)
        if _listeners:
            await_steps()
        else:
            restore()


def restore() -> None:
    """Take every patch and hook off."""
    while _hooks:
        _hooks.popitem()[1].remove()
    _steppers.clear()
    for (owner, name), (found, ours) in _patches.items():
        if getattr(owner, name) is not ours:
            continue
        if (owner, name) in _inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, found)
    _patches.clear()
    _inherited.clear()


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


def _grad_called(here: int, outputs: Any) -> None:
    if is_own_gradient():
        return
    for listener in tuple(_listeners):
        if here == listener.turns.trainer:
            listener.grad_called(outputs)


def _over_engine(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not _listeners or is_private():
            return inner(outputs, *args, **kwargs)
        here = get_ident()
        if not kwargs.get("accumulate_grad", True):
            _grad_called(here, outputs)
            return inner(outputs, *args, **kwargs)
        listeners = [
            listener
            for listener in tuple(_listeners)
            if here == listener.turns.settled or listener.trains(outputs)
        ]
        for listener in listeners:
            listener.backward_begins(outputs)
        result = inner(outputs, *args, **kwargs)
        for listener in listeners:
            if listener.awaits_end:
                listener.backward_ends()
            listener.has_ended = True
        return result

    return run


def _broke(error: Exception) -> None:
    """Something of ours went wrong where no listener was at work: all of them have part in it."""
    for listener in tuple(_listeners):
        listener.broke(error)


def _over_state(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def getstate(self: nn.Module) -> Any:
        state = inner(self)
        try:
            return state_without_ours(state)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is ours and must not reach the loop
            _broke(error)
        return state

    return getstate


def _over_scripting(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def create(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        try:
            found = take_off(module)
        except Exception as error:  # noqa: BLE001 - as above
            _broke(error)
            found = []
        try:
            return inner(module, *args, **kwargs)
        finally:
            put_back(found)

    return create


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
        # What `original` returns, without a call at every call.
        listeners, module = tuple(_listeners), self._modules.get(WRAPPED) or self
        for listener in listeners:
            listener.region_begins(module, args, kwargs)
        result = inner(self, *args, **kwargs)
        for listener in listeners:
            if listener.looks_closely:
                listener.region_ends(module, result)
        return result

    return call
