"""The guard of every point of the user's loop at which something of ours runs."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from threading import RLock, get_ident
from typing import Any

import torch

from neuraldbg.capture.quiet import Quiet
from neuraldbg.capture.quietly import Quietly
from neuraldbg.capture.reduce import (
    UNTRACED,
    dispatch_modes,
    do_unseen,
    function_modes,
    in_capture,
)
from neuraldbg.capture.turns import Turns
from neuraldbg.errors import CaptureWarning, UsageError

__all__ = ["PATIENCE", "Guard", "task_under_way"]

# Seconds that a thread waits for another that is at work for the same capture.
PATIENCE = 1.0
# The number of the backward pass that runs in this thread, -1 for none.
task_under_way = torch._C._current_graph_task_id  # noqa: SLF001 - there is no public name


class Guard(ABC):
    """What disarms us after an error of our own, with one warning, and lets training go on."""

    _session: Quietly
    _quiet: Quiet
    _armed: bool
    _on_step: Callable[[], None] | None
    _told: int
    _lock: RLock
    turns: Turns

    @property
    def steps(self) -> int:
        """Optimizer steps seen so far."""
        return self._session.steps + len(self._quiet.rows)

    @abstractmethod
    def _detach(self) -> None:
        """Take everything of ours away."""

    def _guarded(
        self, work: Callable[..., None], *args: Any, short: Callable[..., bool] | None = None
    ) -> None:
        """Run work of ours inside the user's loop: an error disarms us and training goes on.

        Parameters
        ----------
        work
            What is to be done …
        short
            … unless this, which touches plain tensors only, has done it.
        """
        try:
            here, task, turns = get_ident(), task_under_way(), self.turns
            if (
                not self._armed
                or (self._session.far and in_capture())
                # A device has threads of its own, in which backward passes run.
                or (task == -1 and here != turns.trainer and here not in turns.steppers)
            ):
                self._leave_unseen()
            elif task != -1:
                # Perhaps the thread that waits for this one is at work for us: no lock.
                self._session.wake()
                do_unseen(work, args, short)
            # Another thread may be at work, or was when this process was forked from it.
            elif self._lock.acquire(False) or self._lock.acquire(True, PATIENCE):
                try:
                    if self._quiet.on:
                        self._session.wake()
                    if short is None or function_modes() or dispatch_modes():
                        do_unseen(work, args, short)
                    elif not short(*args):
                        with UNTRACED():
                            work(*args)
                finally:
                    self._lock.release()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is ours and must not reach the loop
            self._fail(error)
        self._tell()

    def _tell(self) -> None:
        """Tell whoever follows that a step ended, if one has."""
        if self._on_step is not None and self._told != (now := self.steps):
            self._told = now
            self._on_step()

    def _noted(self, note: Callable[..., bool], *args: Any) -> bool:
        """Return whether a call needs no more than to be remembered: nothing of it is looked at here."""
        try:
            return (
                self._armed
                and get_ident() == self.turns.trainer
                and not dispatch_modes()
                and not (self._session.far and in_capture())
                and note(*args)
            )
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
            return True

    def _leave_unseen(self) -> None:
        if self._armed and self._session.far and in_capture():
            # What runs now is recorded as a CUDA graph, in which nothing of ours has a place.
            self._session.captured = True

    def _fail(self, error: Exception) -> None:
        """Take ourselves out of the loop, saying so once."""
        first = not self._session.failed
        self._session.failed = self._session.failed or f"{type(error).__name__}: {error}"
        with suppress(Exception):
            self._detach()
        if first:
            ours = f" after an error of its own ({self._session.failed}). Please report this"
            why = f": {error}" if isinstance(error, UsageError) else ours
            msg = f"NeuralDBG disarmed itself{why}; training goes on unchanged."
            warnings.warn(msg, CaptureWarning, stacklevel=3)
