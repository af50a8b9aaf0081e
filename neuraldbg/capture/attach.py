"""Attach to a model: hooks and patches on and off, and what happens at every point of the user's loop."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer
from torch.utils.hooks import RemovableHandle

from neuraldbg.capture.hooks import InertHook
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.session import Session
from neuraldbg.errors import CaptureWarning, ModelError, UsageError
from neuraldbg.records.recording import Recording

__all__ = ["Capture"]

_watched: set[int] = set()


class Capture:
    """Watches one model between ``start`` and ``stop``; the loop is not told and not changed.

    Parameters
    ----------
    model
        The model; its parameters identify the optimizers that matter.
    schedule
        When to look closely; None for the default rhythm.

    Raises
    ------
    ModelError
        If ``model`` is not an ``nn.Module``.
    """

    def __init__(self, model: object, *, schedule: Schedule | None = None) -> None:
        if not isinstance(model, nn.Module):
            msg = (
                f"NeuralDbg watches a torch.nn.Module, got {type(model).__name__}. "
                "Pass the model itself, for example NeuralDbg(trainer.model)."
            )
            raise ModelError(msg)
        self._model: nn.Module | None = model
        self._armed = False
        self._session = Session(model, schedule or Schedule(), self._guarded)
        self._handles: list[RemovableHandle] = []
        self._entries: set[int] = set()
        self._backward: Callable[..., Any] | None = None
        self._patched: Callable[..., Any] | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps seen so far."""
        return self._session.steps

    def start(self) -> None:
        """Attach.

        Raises
        ------
        UsageError
            If the model has no parameters, is watched already, or this object was used before.
        """
        model = self._model
        if model is None:
            msg = "this NeuralDbg has been used already. Create a new one for a new run."
            raise UsageError(msg)
        if id(model) in _watched:
            msg = (
                f"this {type(model).__name__} is watched by another active NeuralDbg. "
                "Leave that context first, or use its answers."
            )
            raise UsageError(msg)
        if not any(True for _ in model.parameters()):
            msg = (
                f"{type(model).__name__} has no parameters, so there is no training to watch. "
                "Pass the module that the optimizer updates."
            )
            raise UsageError(msg)
        _watched.add(id(model))
        self._attach(model)

    def _attach(self, model: nn.Module) -> None:
        try:
            self._session.begin(self._discover)
            self._handles.append(
                torch_optimizer.register_optimizer_step_pre_hook(self._optimizer_before)
            )
            self._handles.append(
                torch_optimizer.register_optimizer_step_post_hook(self._optimizer_after)
            )
            self._watch_entry(model)
            self._patch_backward()
            self._armed = True
        except BaseException:
            self._detach()
            raise

    def stop(self, exception: BaseException | None = None) -> None:
        """Detach, also after an exception of the loop; safe to call more than once."""
        try:
            if self._armed:
                self._session.end(exception)
        finally:
            # Also when an error of ours disarmed us earlier: a function mode may have been in use then.
            self._detach()
            self._model = None

    def recording(self) -> Recording:
        """Return what was seen so far; may be called while the run goes on."""
        return self._session.recording()

    def listen(self, on_rows: Callable[[], None]) -> None:
        """Call this whenever new rows were written, inside the loop; ``part`` hands them over."""
        self._session.on_rows = on_rows

    @property
    def pending(self) -> tuple[int, int, int]:
        """Steps, sampled steps and occurrences since the last part."""
        return self._session.pending

    def part(self) -> Recording:
        """Return what is new since the last part; its numbers are no longer kept here."""
        return self._session.part()

    def _detach(self) -> None:
        self._armed = False
        try:
            self._session.release()
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles = []
            self._unpatch_backward()
            if self._model is not None:
                _watched.discard(id(self._model))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run work of ours inside the user's loop: an error disarms us and training goes on."""
        if not self._armed:
            return
        try:
            with torch._C.DisableTorchFunction():  # noqa: SLF001 - our own operations must not be traced
                work()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is ours and must not reach the loop
            self._session.failed = f"{type(error).__name__}: {error}"
            self._detach()
            warnings.warn(
                f"NeuralDBG disarmed itself after an error of its own ({self._session.failed}); "
                "training goes on unchanged. Please report this.",
                CaptureWarning,
                stacklevel=2,
            )

    def _watch_entry(self, module: nn.Module) -> None:
        if id(module) in self._entries:
            return
        self._entries.add(id(module))
        session = self._session

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._guarded(lambda: session.forward_begins(args, kwargs))

        def after(
            _module: nn.Module,
            _args: tuple[Any, ...],
            _kwargs: dict[str, Any],
            output: Any,
        ) -> None:
            self._guarded(lambda: session.forward_ends(output))

        self._handles.append(
            module.register_forward_pre_hook(InertHook(before), with_kwargs=True)  # type: ignore[arg-type]
        )
        self._handles.append(
            module.register_forward_hook(
                InertHook(after),  # type: ignore[arg-type]
                with_kwargs=True,
                always_call=True,
            )
        )

    def _discover(self, module: nn.Module) -> None:
        """Take a module of the model that was called from outside: it becomes an entry."""
        self._watch_entry(module)

    def _optimizer_before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._guarded(lambda: self._session.optimizer_begins(optimizer))

    def _optimizer_after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._guarded(lambda: self._session.optimizer_ends(optimizer))

    def _patch_backward(self) -> None:
        original = torch.autograd.backward
        session = self._session

        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            self._guarded(lambda: session.backward_begins(tensors))
            result = original(tensors, *args, **kwargs)
            self._guarded(session.backward_ends)
            return result

        self._backward, self._patched = original, backward
        torch.autograd.backward = backward

    def _unpatch_backward(self) -> None:
        # If somebody patched on top of us meanwhile, theirs stays and ours becomes a plain call-through.
        if self._backward is not None and torch.autograd.backward is self._patched:
            torch.autograd.backward = self._backward  # type: ignore[assignment]
        self._backward = None
