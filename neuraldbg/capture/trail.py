"""On a device: one gradient of every layer of the last steps, kept until it is known that nothing was wrong with them.

Whether a step was well its loss tells, and the norm of one gradient near the input. Both are known only some steps
later, when everything else that would say where it began has been overwritten. To measure every layer in every step
is what a loop of small kernels would pay most for, and nearly all of it is never asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, repeat
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from neuraldbg.capture.intact import are_intact
from neuraldbg.capture.params import WIDE, norms

__all__ = ["Trail"]

# Entries that are kept on the device at most, 8 MiB of them, and steps: fewer than the least may be over before the
# loss of the first has arrived, since losses are sent for together and a loop runs ahead of its device.
ENTRIES, LEAST, MOST = 2**21, 16, 48
_written = attrgetter("_version")


class _Step(NamedTuple):
    """What was noted of a step; gradients as they are, or their norms."""

    step: int
    params: Sequence[int]
    found: Sequence[Tensor]
    writes: Sequence[int]


class Trail:
    """Gradients of a few parameters in the last steps, or their norms where those are too large or written to.

    Attributes
    ----------
    index
        The parameters, by index; empty where steps cannot be noted.
    """

    index: Sequence[int] = ()

    def __init__(self) -> None:
        self._tensors: Sequence[Tensor] = ()
        self._probe: Tensor | None = None
        self._place = 0
        self._keeps = False
        self._steps: deque[_Step] = deque()

    def follow(
        self, index: Sequence[int], tensors: Sequence[Tensor], probe: int, *, left_alone: bool
    ) -> None:
        """Steps begin in which these parameters are looked at.

        Parameters
        ----------
        index, tensors
            The parameters.
        probe
            Index of the one whose norm is wanted in every step, one of them.
        left_alone
            Whether nobody was seen to write to gradients: otherwise they are measured at once.
        """
        if not index:
            self.clear()
            return
        self._place = list(index).index(probe)
        size = sum(tensor.numel() for tensor in tensors)
        self._keeps = left_alone and size * LEAST <= ENTRIES
        most = min(MOST, ENTRIES // max(1, size)) if self._keeps else MOST
        self.index, self._tensors, self._probe = index, tensors, tensors[self._place]
        self._steps = deque(self._steps, maxlen=most)

    def clear(self) -> None:
        """Let go of everything."""
        self.index, self._tensors, self._probe = (), (), None
        self._steps.clear()

    def note(self, step: int) -> bool:
        """Note the gradients of a step; return whether all are there and ordinary ones."""
        found: Sequence[Tensor | None] = [parameter.grad for parameter in self._tensors]
        try:
            writes = [*map(_written, found)]
        except AttributeError:
            return False
        if not writes:
            return False
        if self._keeps:
            self._steps.append(_Step(step, self.index, found, writes))  # type: ignore[arg-type] # none of them is None, which has no version
            return True
        for gradient in found:
            if type(gradient) is not Tensor or gradient.layout is not torch.strided:
                return False
            if gradient.dtype in WIDE:
                return False
        self._steps.append(_Step(step, self.index, norms(found), ()))  # type: ignore[arg-type] # as above
        return True

    def norm(self, *, noted: bool) -> Tensor | None:
        """Return the norm of the probe's gradient, shape ``(1,)``; None if that is no ordinary one.

        Parameters
        ----------
        noted
            Whether it is as it was when it was noted last.
        """
        if noted and not self._keeps and self._steps:
            return self._steps[-1].found[self._place].reshape(1)
        gradient = None if self._probe is None else self._probe.grad
        if type(gradient) is not Tensor or gradient.layout is not torch.strided:
            return None
        if gradient.dtype in WIDE or gradient.requires_grad:
            return None
        return torch.linalg.vector_norm(gradient, dtype=torch.float32).reshape(1)

    def forget(self, step: int) -> None:
        """Let go of all steps before one whose loss was finite: so were the gradients that led to it."""
        steps = self._steps
        while steps and steps[0].step < step:
            steps.popleft()

    def take(self) -> list[tuple[int, Sequence[int], Tensor]]:
        """Return steps with parameters, by index, and their norms, oldest first, and forget them.

        Gradients that somebody has written to since, or that are in one memory with those of another step, are left out.
        """
        steps, self._steps = self._steps, deque(maxlen=self._steps.maxlen)
        kept = [(g, w) for x in steps for g, w in zip(x.found, x.writes, strict=False)]
        left = iter(are_intact([g for g, _ in kept], [w for _, w in kept], again=False))
        out: list[tuple[int, Sequence[int], Tensor]] = []
        for x in steps:
            # Norms are numbers of our own, to which nobody writes.
            holds = islice(left, len(x.writes)) if x.writes else repeat(object=True)
            whole = [(i, g) for i, g, ok in zip(x.params, x.found, holds, strict=False) if ok]
            if whole:
                sizes = torch.stack(norms([g.detach() for _, g in whole]))
                out.append((x.step, [i for i, _ in whole], sizes))
        return out
