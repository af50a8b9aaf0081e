"""Numbers on their way from a device: sent to the host as they are made, read once they are there; nobody waits."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from neuraldbg.capture.intact import are_intact

__all__ = ["Late", "Peek"]

# Places made at a time for numbers that are on their way.
TOGETHER = 64
# So many numbers have one event: what tells that the last of them is there tells that all are. Those that are held
# are so many more: each operation saved is a tenth of a small step.
GROUP, HELD = 4, 8


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
    """Copies single numbers to the host, in the order of the work of their device.

    Attributes
    ----------
    holds
        Whether those that ``hold`` is asked for may be held at all: other processes would write to them unseen.
    """

    holds = True

    def __init__(self) -> None:
        self._device: torch.device | None = None
        self._free: list[Tensor] = []
        self._events: list[torch.cuda.Event] = []
        self._row: Tensor | None = None
        self._open: list[Late] = []
        self._held: list[tuple[Late, Tensor, int]] = []
        self._flying: deque[tuple[torch.cuda.Event, list[Late], Tensor]] = deque()

    def send(self, number: Tensor) -> Late:
        """Send for a number."""
        self._let_go()
        late = self._send(number.detach())
        if len(self._open) == GROUP:
            self._seal()
        return late

    def hold(self, number: Tensor) -> Late:
        """Send for a number together with some of the next ones, for as long as nobody is seen to write to one meanwhile."""
        if not self.holds:
            return self.send(number)
        late = Late()
        self._held.append((late, number.detach(), number._version))  # noqa: SLF001 - the public way to see a write
        if len(self._held) == HELD:
            self._let_go()
        return late

    def _let_go(self) -> None:
        """Send for all numbers that are held."""
        if not self._held:
            return
        held, self._held = self._held, []
        numbers = [number for _, number, _ in held]
        together = self._stacked(numbers, [written for *_, written in held])
        if together is None:
            self.holds = False
            return
        self._seal()
        self._turn_to(together)
        row = self._take_row(together)
        row[: len(held)].copy_(together, non_blocking=True)
        self._open, self._row = [late for late, *_ in held], row
        self._seal()

    @staticmethod
    def _stacked(numbers: list[Tensor], writes: list[int]) -> Tensor | None:
        """Return numbers as one tensor, None where one has been overwritten or is to be."""
        try:
            if not all(are_intact(numbers, writes, again=False)):
                return None
            return torch.stack([n.reshape(()) if n.dim() else n for n in numbers])
        except RuntimeError:
            # So says the memory of a captured graph whose next run has begun.
            return None

    def arrived(self, *, all_are: bool = False) -> list[Late]:
        """Return what has arrived since the last call, oldest first.

        Parameters
        ----------
        all_are
            Whether to wait for what has not; that costs nothing where the device was waited for meanwhile.
        """
        if all_are:
            self._let_go()
            self._seal()
        found = []
        while self._flying and (all_are or self._flying[0][0].query()):
            event, group, row = self._flying.popleft()
            if all_are:
                event.synchronize()
            self._events.append(event)
            self._free.append(row)
            for late, value in zip(group, row.tolist(), strict=False):
                late.value = value
                found.append(late)
        return found

    def _send(self, number: Tensor) -> Late:
        if number.device != self._device:
            self._turn_to(number)
        late = Late()
        if self._row is None:
            self._row = self._take_row(number)
        # Converted on its way, if need be.
        cell = self._row[len(self._open)]
        cell.copy_(number.reshape(()) if number.dim() else number, non_blocking=True)
        self._open.append(late)
        return late

    def _seal(self) -> None:
        """Note the point of the device's work at which the open group is there."""
        if not self._open or self._row is None:
            return
        event = self._events.pop() if self._events else torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._flying.append((event, self._open, self._row))
        self._open, self._row = [], None

    def _turn_to(self, number: Tensor) -> None:
        """Numbers may come from another device from now on: events and groups belong to one."""
        if number.device != self._device:
            self._seal()
            self._device, self._events = number.device, []

    def _take_row(self, number: Tensor) -> Tensor:
        """Return a free row of places on the host."""
        kind = torch.float64 if number.dtype == torch.float64 else torch.float32
        if not self._free or self._free[-1].dtype is not kind:
            cells = torch.empty(TOGETHER, HELD, dtype=kind, device="cpu", pin_memory=True)
            self._free += cells.unbind()
        return self._free.pop()
