"""Putting a function mode on PyTorch's stack and taking exactly that one off again."""

from __future__ import annotations

import torch
from torch.overrides import _pop_mode, _push_mode

from neuraldbg.capture.trace import Tracer

__all__ = ["ModeStack"]


def _depth() -> int:
    return int(torch._C._len_torch_function_stack())  # noqa: SLF001 - there is no public way to ask


class ModeStack:
    """Knows whether our mode is on the stack.

    PyTorch pops the top whatever it is, so a mode pushed inside somebody's ``with torch.device(...)``
    would be popped in place of theirs. We push only onto the stack as it was at the start, and pull ours
    out from under anything that was pushed since.
    """

    def __init__(self, mode: Tracer) -> None:
        self._mode = mode
        self._base = 0
        self._on = False

    def base(self) -> None:
        """Remember the stack as it is now."""
        self._base = _depth()

    def push(self) -> None:
        """Push our mode if it is not there and the stack is as it was at the start."""
        if not self._on and _depth() == self._base:
            _push_mode(self._mode)
            self._on = True

    def push_again(self) -> None:
        """Push our mode after a pause, unless it has nothing to do."""
        if not self._mode.resting:
            self.push()

    def remove(self) -> bool:
        """Take our mode off, leaving the order of all others as it is; return whether it is off.

        While one of our mode's own calls is under way PyTorch has it off the stack and will put it back:
        then nothing can be done here, and the caller tries again at its next opportunity.
        """
        if not self._on:
            return True
        stack = [torch._C._get_function_stack_at(i) for i in range(_depth())]  # noqa: SLF001 - as above
        if not any(entry is self._mode for entry in stack):
            return False
        above = []
        while (top := _pop_mode()) is not self._mode:
            above.append(top)
        for other in reversed(above):
            _push_mode(other)
        self._on = False
        return True
