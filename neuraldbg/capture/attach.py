"""Attach to a model: hooks and patches on and off, and what happens at every point of the user's loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import RLock, get_ident
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from neuraldbg.capture import engine
from neuraldbg.capture.assemble import placed
from neuraldbg.capture.guard import PATIENCE, Guard, task_under_way
from neuraldbg.capture.hooks import InertHook
from neuraldbg.capture.quietly import Quietly
from neuraldbg.capture.schedule import Schedule
from neuraldbg.capture.shares import Shares
from neuraldbg.errors import ModelError, UsageError
from neuraldbg.records.recording import Recording

__all__ = ["Capture"]

_watched: set[int] = set()
TOGETHER = "several threads train this model, which cannot be followed"


class Capture(Guard):
    """Watches one model between ``start`` and ``stop``; the loop is not told and not changed.

    Parameters
    ----------
    model
        The model; its parameters identify the optimizers that matter.
    schedule
        When to look closely; None for the default rhythm.
    summed
        Whether the losses of several backward passes of one step add up to its loss; None to find out.
    first_step
        The number that the first optimizer step gets in the recording.

    Raises
    ------
    ModelError
        If ``model`` is not an ``nn.Module``.
    """

    def __init__(
        self,
        model: object,
        *,
        schedule: Schedule | None = None,
        summed: bool | None = None,
        first_step: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            msg = (
                f"NeuralDbg watches a torch.nn.Module, got {type(model).__name__}. "
                "Pass the model itself, for example NeuralDbg(trainer.model)."
            )
            raise ModelError(msg)
        self._model: nn.Module | None = model
        self._armed = False
        self.awaits_end = self.has_ended = True
        self.looks_closely = False
        self._first_step = first_step
        self._session = Quietly(model, schedule or Schedule(), self._guarded, self)
        self._session.shares = Shares(told=summed)
        self._on_step: Callable[[], None] | None = None
        self._told = 0
        self.turns, self._quiet = self._session.turns, self._session.quiet
        self.beginnings = True
        self._lock = RLock()
        self._entries: dict[int, RemovableHandle] = {}

    @property
    def incidents(self) -> int:
        """How many things that happen once, such as the first non-finite value, have happened."""
        return self._session.rows.incidents

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
            self._session.begin(self._watch_entry, self._leave_entry)
            self._watch_entry(model)
            self.resume()
        except Exception as error:  # noqa: BLE001 - a bug of ours is no reason not to train
            self._fail(error)
        except BaseException:
            self._detach()
            raise

    def resume(self) -> None:
        """Put the hooks back after ``pause``."""
        self.beginnings = True
        self.turns.take(get_ident())
        engine.join(self)
        self._session.resume()
        self._armed = True

    def pause(self) -> None:
        """Take every hook away between two steps, so that the loop runs as if unwatched until ``resume``."""
        self._armed = False
        # Every callback runs, whatever another one raises.
        with ExitStack() as stack:
            stack.callback(engine.leave, self)
            stack.callback(self._session.pause)

    def stop(self, exception: BaseException | None = None) -> None:
        """Detach, also after an exception of the loop; safe to call more than once."""
        self._on_step = None
        try:
            self._guarded(self._session.end, exception)
        finally:
            try:
                # Also when an error of ours disarmed us earlier: a function mode may have been in use then.
                self._detach()
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error)
            self._model = None

    def recording(self) -> Recording:
        """Return what was seen so far; may be called while the run goes on."""
        return placed(self._session.recording(), self._first_step)

    def listen(self, on_rows: Callable[[], None]) -> None:
        """Call this whenever new rows were written, inside the loop; ``part`` hands them over."""
        self._session.rows.written = on_rows

    def follow(self, on_step: Callable[[], None] | None) -> None:
        """Call this after every step, inside the loop and unguarded: what it raises ends the loop."""
        self._on_step, self._told = on_step, self.steps

    @property
    def pending(self) -> tuple[int, int, int]:
        """Steps, sampled steps and occurrences since the last part."""
        return self._session.rows.pending

    def part(self) -> Recording:
        """Return what is new since the last part; its numbers are no longer kept here."""
        return placed(self._session.rows.part(self._session.recording()), self._first_step)

    def _detach(self) -> None:
        with ExitStack() as stack:
            if self._model is not None:
                stack.callback(_watched.discard, id(self._model))
            while self._entries:
                stack.callback(self._entries.popitem()[1].remove)
            stack.callback(self._session.release)
            stack.callback(self.pause)

    def _watch_entry(self, module: nn.Module) -> None:
        session = self._session
        if id(module) in session.parts.entries or session.parts.covers(module):
            return
        session.parts.entries.add(id(module))
        turns, take = self.turns, self._take

        # Without keywords where another hook of ours disarmed us in this very call.
        def before(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
        ) -> None:
            if get_ident() != turns.trainer:
                take()
            if self._quiet.calls(module, args, kwargs or {}):
                return
            if not self._noted(session.note_call, module, args, kwargs or {}):
                short = session.forward_short
                self._guarded(session.forward_begins, args, kwargs or {}, short=short)

        self._entries[id(module)] = module.register_forward_pre_hook(
            InertHook(before),  # type: ignore[arg-type]
            with_kwargs=True,
        )

    def _leave_entry(self, key: int) -> None:
        """Take the hook off a module that turned out to be compiled; its calls are seen from outside."""
        self._session.parts.entries.discard(key)
        if (handle := self._entries.pop(key, None)) is not None:
            handle.remove()

    def _take(self) -> None:
        """Another thread calls the model; those of a device only do what a backward pass asks for."""
        try:
            if torch.is_grad_enabled() and task_under_way() == -1:
                self.turns.take(get_ident())
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _meet(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer steps in a thread not seen to train the model: that does if it owns some of it."""
        try:
            if (
                task_under_way() == -1
                and self.turns.owns(optimizer)
                and self.turns.steps(get_ident())
            ):
                self._claim()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _claim(self) -> None:
        """Listen to the thread at work; if another one trains the model leave that alone, when nobody reads it any more."""
        waited = self._lock.acquire(True, PATIENCE)
        try:
            if self._armed and not self.turns.claims(get_ident()):
                self._fail(UsageError(TOGETHER))
        finally:
            if waited:
                self._lock.release()

    def broke(self, error: Exception) -> None:
        """Something of ours went wrong outside of it."""
        self._fail(error)

    # -- what the engine tells ------------------------------------------------------------------

    def await_steps(self, *, beginnings: bool) -> None:
        """Be told when optimizers begin to step, or only when they have stepped."""
        if beginnings != self.beginnings:
            self.beginnings = beginnings
            engine.await_steps()

    def step_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        if get_ident() not in self.turns.steppers:
            self._meet(optimizer)
        self._guarded(self._session.optimizer_begins, optimizer)

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None:
        """It has stepped."""
        if self._quiet.steps(optimizer):
            if not self._quiet.left:
                self._guarded(self._session.go_on)
            self._tell()
            return
        session = self._session
        if get_ident() not in self.turns.steppers:
            self._meet(optimizer)
        self._guarded(session.optimizer_ends, optimizer, short=session.step_short)

    def trains(self, outputs: Any) -> bool:
        """Return whether a backward pass in a thread not seen to train the model is to be told."""
        here = get_ident()
        if task_under_way() != -1:
            # A pass within another one, in a thread of a device perhaps.
            return True
        try:
            if self.turns.asks(here) and self.turns.reached(outputs):
                self._claim()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        return self._armed and here == self.turns.trainer

    def backward_begins(self, outputs: Any) -> None:
        """A backward pass of the loop begins."""
        if self._quiet.passes(outputs):
            self.awaits_end = self.has_ended = False
            return
        session = self._session
        self._guarded(session.backward_begins, outputs, short=session.backward_short)
        self.awaits_end, self.has_ended = not session.deferred, False

    def backward_ends(self) -> None:
        """It returned."""
        self._guarded(self._session.backward_ends)

    def grad_called(self, outputs: Any) -> None:
        """``autograd.grad`` was called."""
        self._guarded(self._session.grad_called, outputs)

    def compiles(self) -> None:
        """Something was given to ``torch.compile``."""
        self._guarded(self._session.parts.compiles)

    def region_begins(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A compiled module is about to be called."""
        if self._quiet.calls(module, args, kwargs):
            return
        session = self._session
        if not self._noted(session.note_region, module, args, kwargs):
            self._guarded(session.region_begins, module, args, kwargs, short=session.region_short)

    def region_ends(self, module: nn.Module, result: Any) -> None:
        """It has returned."""
        self._guarded(self._session.region_ends, module, result)

    def scaled(self, scaler: Any, loss: Any, result: Any) -> None:
        """A gradient scaler multiplied a loss."""
        self._guarded(self._session.amp.scaled, scaler, loss, result)

    def scaler_begins(self) -> None:
        """A gradient scaler is asked for a step."""
        self._guarded(self._session.amp.begins)

    def scaler_ends(self, optimizer: Any) -> None:
        """It has taken it, or not."""
        self._guarded(self._session.scaler_ends, optimizer)
