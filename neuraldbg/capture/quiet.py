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
from neuraldbg.capture.incidents import RecentLosses
from neuraldbg.capture.inputs import InputLog
from neuraldbg.capture.optim import Entry, OptimizerBook
from neuraldbg.capture.reduce import dispatch_modes, function_modes

__all__ = ["Quiet", "Row"]

# Loss; batch, unless it was copied, and how often it had been written to; gradient of the probe, or its norm, and
# the same; settings of the optimizer.
Row = tuple[float, Tensor | None, int, Tensor | float, int, tuple[float, ...]]


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

    Attributes
    ----------
    on
        Whether steps are noted here.
    left
        So many more may be.
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
        "batch",
        "book",
        "clear",
        "copies",
        "entry",
        "groups",
        "inputs",
        "keeps",
        "left",
        "listener",
        "module",
        "noted",
        "on",
        "optimizer",
        "probe",
        "rates",
        "recent",
        "root",
        "rows",
        "shape",
        "trainer",
        "value",
        "values",
        "written",
    )

    def __init__(
        self, listener: Listener, book: OptimizerBook, inputs: InputLog, recent: RecentLosses
    ) -> None:
        self.listener, self.book, self.inputs, self.recent = listener, book, inputs, recent
        self.copies, self.keeps, self.trainer = False, True, 0
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
        """
        self.on, self.left, self.trainer = True, left, self.listener.turns.trainer
        self.entry = entry
        self.optimizer, self.groups = entry.ref, entry.groups
        self.rates, self.values = entry.rates, entry.values
        self.probe = probe
        self.clear, self.keeps = clear, keeps
        self.shape, self.copies = self.inputs.shape, not self.inputs.keeps
        self.root = None

    def calls(self, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """The loop calls a module of the model."""
        if (
            not self.left
            or self.module is not module
            or self.noted is not None
            or self.trainer != get_ident()
            or not torch.is_grad_enabled()
            or dispatch_modes()
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
                or not root.is_cpu
                or function_modes()
                or dispatch_modes()
            ):
                return False
            for parameter in self.clear:
                if parameter.grad is not None:
                    return False
            value, recent = root.item(), self.recent
            if recent.left and recent.low <= value <= recent.high:
                recent.left -= 1
            elif not math.isfinite(value) or recent.stands_out(value):
                return False
            recent.values.append(value)
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
            found = gradient if self.keeps else self._norm(gradient)
            if found is None:
                return False
            self.rows.append((self.value, self.batch, self.written, found, seen, self.values))
            self.noted = self.root = self.batch = None
            self.left -= 1
        except Exception as error:  # noqa: BLE001 - as above
            self.listener.broke(error)
        return True

    @staticmethod
    def _norm(gradient: Tensor) -> float | None:
        """Return the norm of a gradient, None where it is not finite or no ordinary one."""
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
