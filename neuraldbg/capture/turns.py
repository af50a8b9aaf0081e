"""Which thread trains the model.

Gradients must not be read while another thread clears or accumulates them: PyTorch frees a gradient that is set to
``None`` before it forgets where that was, so that whoever reads it at that moment reads freed memory. A thread may take
over from one that has ended, or that has done no more than to call the model; two that train it are not followed.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from threading import get_ident
from typing import Any

import torch

from neuraldbg.capture.provenance import nodes_of
from neuraldbg.capture.reduce import float_tensors

__all__ = ["Turns"]

# Backward passes of a thread that are looked at: one that trains another model is not asked in every step.
LOOKS = 3


class Turns:
    """The thread whose calls belong to the training.

    Parameters
    ----------
    params
        The parameters of the model, by ``id``.

    Attributes
    ----------
    trainer
        The thread that is listened to, at first the one that began …
    settled
        … and the same once it was seen to train the model, 0 before.
    steppers
        Those in which optimizers of the model have stepped, which a loop may leave to another thread.
    """

    def __init__(self, params: Collection[int]) -> None:
        self._params = params
        self.trainer = get_ident()
        self.settled = 0
        self.steppers: set[int] = set()
        self._looks: dict[int, int] = {}

    def owns(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer steps parameters of the model."""
        return any(
            id(p) in self._params for group in optimizer.param_groups for p in group["params"]
        )

    def reached(self, outputs: Any) -> bool:
        """Return whether a backward pass from there reaches parameters of the model."""
        roots = [t.grad_fn for t in float_tensors(outputs, 3)]
        if isinstance(outputs, torch.autograd.graph.GradientEdge):
            roots.append(outputs.node)
        return any(id(getattr(n, "variable", None)) in self._params for n in nodes_of(roots))

    def take(self, here: int) -> None:
        """A thread calls the model with gradients on: it is listened to unless a living one trains it."""
        if here != self.trainer and not self._is_taken(here):
            self.trainer, self.settled = here, 0

    def asks(self, here: int) -> bool:
        """Return whether to look if a backward pass of a thread, which may train another model, is the model's."""
        looks = self._looks[here] = self._looks.get(here, 0) + 1
        return looks <= LOOKS

    def steps(self, here: int) -> bool:
        """An optimizer of the model steps in a thread; return whether that trains the model by itself."""
        self.steppers.add(here)
        return here == self.trainer or here in self._looks

    def claims(self, here: int) -> bool:
        """A thread trains the model; return whether it is the only one."""
        if self._is_taken(here):
            return False
        self.trainer = self.settled = here
        return True

    def _is_taken(self, here: int) -> bool:
        if self.settled in {0, here}:
            return False
        # Unlike `threading.enumerate` it knows the threads that Python did not start.
        return self.settled in sys._current_frames()  # noqa: SLF001 - documented
