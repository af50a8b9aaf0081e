"""Steps that are like those before, of which the least is noted that can be worked out later.

Their hooks are the only code of ours that runs for every step of a long run, each time in caches that have filled
with other things since: so they are flat, touch one small object, and keep what they come upon in one row a step.
What is not like before is left to ``Shortcut``, to which the rows so far are handed over first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.engine import Listener
from neuraldbg.capture.hindsight import LOOKED_EVERY, Hindsight
from neuraldbg.capture.incidents import RecentLosses
from neuraldbg.capture.inputs import InputLog
from neuraldbg.capture.optim import Entry, OptimizerBook
from neuraldbg.capture.peek import Late
from neuraldbg.capture.reduce import dispatch_modes, function_modes, in_capture

__all__ = ["Quiet", "Row"]

# Loss; batch, unless it was copied, and how often it had been written to; gradient of the probe, or its norm, and
# the same; settings of the optimizer.
Row = tuple[float | Late, Tensor | None, int, Tensor | float, int, tuple[float, ...]]


class Quiet:
    """The state of such steps, and what happens at their hooks; each returns whether it saw to that.

    An error of ours disarms us here as in the guard of ``Capture``, which is a call more in each of them.

    Parameters
    ----------
    listener
        Told of errors.
    book
        Reads the settings of the optimizer when its learning rate changes.
    inputs
        Takes copies of batches.
    recent
        The losses before.
    hindsight
        Sends for losses that live on a device, and keeps what is asked for when they have arrived.

    Attributes
    ----------
    alarm
        Whether a loss that has arrived calls for a closer look.
    on
        Whether steps are noted here.
    far
        Whether numbers live on a device: none is read here.
    step
        There, the number of the step under way.
    left
        So many more may be.
    plain
        Whether nothing is done with gradients but to keep them.
    copies
        Whether batches are copied as the model is called; otherwise they are kept as they are.
    keeps
        Whether gradients are kept; otherwise they are measured.
    module
        What the loop calls first in a step.
    noted
        What that was called with in the step under way; other steps on the short way note it here as well.
    root, value, batch, written
        What the backward pass under way began from, its number, and the batch before it.
    rows
        One for every step that ended.
    """

    __slots__ = (
        "alarm",
        "batch",
        "book",
        "clear",
        "copies",
        "entry",
        "far",
        "groups",
        "hindsight",
        "inputs",
        "keeps",
        "left",
        "listener",
        "module",
        "noted",
        "on",
        "optimizer",
        "plain",
        "probe",
        "rates",
        "recent",
        "root",
        "rows",
        "shape",
        "step",
        "trainer",
        "value",
        "values",
        "written",
    )

    def __init__(
        self,
        listener: Listener,
        book: OptimizerBook,
        inputs: InputLog,
        recent: RecentLosses,
        hindsight: Hindsight,
    ) -> None:
        self.listener, self.book, self.inputs, self.recent = listener, book, inputs, recent
        self.hindsight, self.alarm, self.far, self.step = hindsight, False, False, 0
        self.copies, self.keeps, self.plain, self.trainer = False, True, True, 0
        self.rows: deque[Row] = deque()
        self.noted: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.module: object = None
        self.release()

    def release(self) -> None:
        """Let go of everything."""
        self.on, self.left = False, 0
        self.module = self.noted = None
        self.root: Tensor | None = None
        self.batch: Tensor | None = None
        self.entry: Entry | None = None
        self.probe: Tensor | None = None
        # As a reference to what is gone.
        self.optimizer: Callable[[], torch.optim.Optimizer | None] = type(None)
        self.clear: Sequence[Tensor] = ()
        self.rows.clear()

    def begin(
        self,
        left: int,
        entry: Entry,
        probe: Tensor,
        clear: Sequence[Tensor],
        *,
        keeps: bool,
        far: int | None,
    ) -> None:
        """The next steps, so many at most, are expected to be like those before.

        Parameters
        ----------
        left
            How many.
        entry
            The optimizer of such steps.
        probe
            The parameter whose gradient is looked at.
        clear
            Those that have no gradient when a backward pass begins.
        keeps
            Whether that gradient may be kept.
        far
            Where numbers live on a device the number of the first step, otherwise None.
        """
        self.on, self.left, self.trainer = True, left, self.listener.turns.trainer
        self.entry = entry
        self.optimizer, self.groups = entry.ref, entry.groups
        self.rates, self.values = entry.rates, entry.values
        self.probe = probe
        self.clear, self.keeps = clear, keeps
        self.shape, self.copies = self.inputs.shape, not self.inputs.keeps
        self.root = None
        self.far, self.step = far is not None, far or 0
        self.plain = keeps and not self.far

    def calls(self, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """The loop calls a module of the model."""
        if (
            not self.left
            or self.module is not module
            or self.noted is not None
            or self.trainer != get_ident()
            or not torch.is_grad_enabled()
            or dispatch_modes()
            or (self.far and in_capture())
        ):
            return False
        try:
            if self.copies and (
                kwargs or len(args) != 1 or function_modes() or not self.inputs.noted(args[0])
            ):
                return False
            self.noted = args, kwargs
        except Exception as error:  # noqa: BLE001 - whatever went wrong is ours and must not reach the loop
            self.listener.broke(error)
        return True

    def passes(self, tensors: Sequence[Tensor]) -> bool:
        """A backward pass of the loop begins."""
        noted = self.noted
        if not self.left or noted is None or self.root is not None:
            return False
        try:
            batch, root = noted[0][0] if len(noted[0]) == 1 else None, tensors[0]
            if (
                type(batch) is not Tensor
                or type(root) is not Tensor
                or batch.shape != self.shape
                or batch.requires_grad
                or noted[1]
                or len(tensors) != 1
                or self.trainer != get_ident()
                or root.numel() != 1
                or function_modes()
                or dispatch_modes()
            ):
                return False
            for parameter in self.clear:
                if parameter.grad is not None:
                    return False
            value = self._sent(root) if self.far else self._read(root)
            if value is None:
                return False
            self.batch = None if self.copies else batch
            self.written, self.value, self.root = batch._version, value, root  # noqa: SLF001 - the public way to see a write
        except Exception as error:  # noqa: BLE001 - as above
            self.listener.broke(error)
        return True

    def steps(self, optimizer: torch.optim.Optimizer) -> bool:
        """An optimizer has stepped."""
        probe = self.probe
        if not self.left or self.root is None or probe is None:
            return False
        try:
            gradient, groups = probe.grad, optimizer.param_groups
            if (
                type(gradient) is not Tensor
                or gradient.requires_grad
                or self.optimizer() is not optimizer
                or len(groups) != self.groups
                or not self.listener.has_ended
                or self.trainer != get_ident()
                or function_modes()
                or dispatch_modes()
            ):
                return False
            for group, rate in zip(groups, self.rates, strict=False):
                if group.get("lr") is not rate:
                    if not self._follows():
                        return False
                    break
            # How often a gradient was written to, as above.
            seen = gradient._version  # noqa: SLF001 - as above
            found = gradient if self.plain else self._norm(gradient)
            if found is None:
                return False
            self.rows.append((self.value, self.batch, self.written, found, seen, self.values))
            self.noted = self.root = self.batch = None
            self.left -= 1
        except Exception as error:  # noqa: BLE001 - as above
            self.listener.broke(error)
        return True

    def _read(self, root: Tensor) -> float | None:
        """Return a loss, None where one is not like those before."""
        if not root.is_cpu:
            return None
        value, recent = root.item(), self.recent
        if recent.left and recent.low <= value <= recent.high:
            recent.left -= 1
        elif not math.isfinite(value) or recent.stands_out(value):
            return None
        recent.values.append(value)
        return value

    def _sent(self, root: Tensor) -> Late | None:
        """Send for a loss on a device."""
        if not root.is_cuda or in_capture():
            return None
        late = self.hindsight.peek.hold(root)
        late.step = self.step
        return late

    def _noted(self, gradient: Tensor) -> Tensor | None:
        """Note the gradients of a step on a device and return that of the probe, or its norm; None where none may be."""
        step = self.step
        if not step % LOOKED_EVERY and self.hindsight.look():
            self.alarm = True
            return None
        trail = self.hindsight.trail
        if not trail.note(step):
            return None
        self.step = step + 1
        return gradient if self.keeps else trail.norm(noted=True)

    def _norm(self, gradient: Tensor) -> Tensor | float | None:
        """Return the norm of a gradient, None where it is not finite or no ordinary one."""
        if self.far:
            return self._noted(gradient)
        if gradient.dtype is not torch.float32 or gradient.layout is not torch.strided:
            return None
        norm: float = torch.linalg.vector_norm(gradient).item()
        return norm if math.isfinite(norm) else None

    def _follows(self) -> bool:
        """The learning rate has changed; return whether that is no more than a schedule does in every step."""
        entry = self.entry
        if entry is None:
            return False
        keys, values = self.book.settings(entry, closely=False)
        if entry.restless or self.book.rises(keys, values):
            return False
        self.book.rate_jumped(keys, values)
        self.rates, self.values = entry.rates, values
        return True
