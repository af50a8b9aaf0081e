"""Numbers on their way from a device: sent to the host as they are made, read once they are there; nobody waits."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

__all__ = ["Late", "Peek"]

# Places made at a time for numbers that are on their way.
TOGETHER = 64
# So many numbers have one event: what tells that the last of them is there tells that all are.
GROUP = 4


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


class Peek:
    """Copies single numbers to the host, in the order of the work of their device."""

    def __init__(self) -> None:
        self._device: torch.device | None = None
        self._free: list[Tensor] = []
        self._events: list[torch.cuda.Event] = []
        self._open: list[tuple[Late, Tensor]] = []
        self._flying: deque[tuple[torch.cuda.Event, list[tuple[Late, Tensor]]]] = deque()

    def send(self, number: Tensor) -> Late:
        """Send for a number."""
        if number.device != self._device:
            self._turn_to(number)
        late = Late()
        cell = self._free.pop() if self._free else self._more(number.dtype)
        # Converted on its way, if need be.
        plain = number.detach()
        cell.copy_(plain.reshape(()) if plain.dim() else plain, non_blocking=True)
        self._open.append((late, cell))
        if len(self._open) == GROUP:
            self._seal()
        return late

    def arrived(self, *, all_are: bool = False) -> list[Late]:
        """Return what has arrived since the last call, oldest first.

        Parameters
        ----------
        all_are
            Whether to wait for what has not; that costs nothing where the device was waited for meanwhile.
        """
        if all_are and self._open:
            self._seal()
        found = []
        while self._flying and (all_are or self._flying[0][0].query()):
            event, group = self._flying.popleft()
            if all_are:
                event.synchronize()
            self._events.append(event)
            for late, cell in group:
                late.value = cell.item()
                self._free.append(cell)
                found.append(late)
        return found

    def _seal(self) -> None:
        """Note the point of the device's work at which the open group is there."""
        event = self._events.pop() if self._events else torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._flying.append((event, self._open))
        self._open = []

    def _turn_to(self, number: Tensor) -> None:
        """Numbers come from another device from now on: events and groups belong to one."""
        if self._open:
            self._seal()
        self._device, self._events = number.device, []

    def _more(self, dtype: torch.dtype) -> Tensor:
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        cells = torch.empty(TOGETHER, dtype=kind, device="cpu", pin_memory=True)
        self._free += cells.unbind()
        return self._free.pop()
