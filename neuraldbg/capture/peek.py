"""Numbers on their way from a device: sent to the host as they are made, read once they are there; nobody waits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Late", "Peek"]

# Places made at a time for numbers that are on their way.
TOGETHER = 64


class Late:
    """A number that was sent for.

    Attributes
    ----------
    step
        The step that it is a loss of, -1 while it is of none.
    value
        The number, None until it is there.
    judged
        Whether somebody has looked at it.
    """

    __slots__ = ("judged", "step", "value")

    def __init__(self) -> None:
        self.step, self.judged = -1, False
        self.value: float | None = None


class _Place(NamedTuple):
    """A cell of pinned memory for numbers of a device, and what tells that one is there."""

    device: torch.device
    cell: Tensor
    event: torch.cuda.Event


class Peek:
    """Copies single numbers to the host, each in the order of the work of its device."""

    def __init__(self) -> None:
        self._free: dict[torch.device, list[_Place]] = {}
        self._flying: deque[tuple[Late, _Place]] = deque()

    def send(self, number: Tensor) -> Late:
        """Send for a number."""
        device = number.device
        free = self._free.get(device) or self._more(number)
        late, place = Late(), free.pop()
        # Converted on its way, if need be.
        place.cell.copy_(number.detach().reshape(()), non_blocking=True)
        place.event.record(torch.cuda.current_stream(device))
        self._flying.append((late, place))
        return late

    def arrived(self, *, all_are: bool = False) -> list[Late]:
        """Return what has arrived since the last call, oldest first.

        Parameters
        ----------
        all_are
            Whether the device was waited for meanwhile.
        """
        found = []
        while self._flying and (all_are or self._flying[0][1].event.query()):
            late, place = self._flying.popleft()
            if all_are:
                place.event.synchronize()
            late.value = place.cell.item()
            self._free[place.device].append(place)
            found.append(late)
        return found

    def _more(self, number: Tensor) -> list[_Place]:
        kind = torch.float64 if number.dtype == torch.float64 else torch.float32
        cells = torch.empty(TOGETHER, dtype=kind, device="cpu", pin_memory=True)
        made = [_Place(number.device, cell, torch.cuda.Event()) for cell in cells.unbind()]
        free = self._free.setdefault(number.device, [])
        free += made
        return free
