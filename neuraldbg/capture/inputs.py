"""Moments of every batch: it is kept or a small copy is taken at every step, and many are reduced together later."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.bank import flat_view
from neuraldbg.capture.intact import can_be_kept
from neuraldbg.capture.params import WIDE
from neuraldbg.capture.reduce import float_tensors
from neuraldbg.capture.shards import local
from neuraldbg.capture.shelf import Shelf
from neuraldbg.capture.tick import Tick

__all__ = ["InputLog"]

# A batch up to this size is copied whole; so many entries stand for a larger one.
ENTRIES = 16_384
# So many slots there are, and more for small batches, up to so many entries and slots.
SLOTS, BANK, MOST_SLOTS = 32, 131_072, 128
# A batch of this size at most is kept instead: to keep a larger one in every step costs more than the copy saves.
KEPT = 8192
# On a device it does not; so large a batch is kept there, and sampled later.
KEPT_FAR = 2**18


class InputLog:
    """Keeps a sample of the first model input of the last few steps.

    Parameters
    ----------
    on_bad
        Told the step of a batch with a non-finite value.

    Attributes
    ----------
    shape
        That of the last batch that was looked at closely.
    keeps
        Whether batches are kept as they are: nobody was seen to write to one, and it is as well looked at later.
    """

    keeps = False

    def __init__(self, on_bad: Callable[[int], None]) -> None:
        self._on_bad = on_bad
        self.shape: torch.Size | None = None
        self._float = True
        self._dtype = torch.float32
        self._whole = False
        # Length and stride of the sample of a batch that is too large to be copied whole.
        self._thin: tuple[tuple[int, ...], tuple[int, ...]] = (), ()
        self._bank = torch.empty(0)
        self._slots: list[Tensor] = []
        # None for a step that was only noted; on a device, of a large batch of these, the sum of all entries.
        self._ticks: list[Tick | None] = []
        self._totals: deque[Tensor | None] = deque()
        # Batches that are kept as they are; the last one looked at closely.
        self._shelf = Shelf(again=True)
        self._shown: tuple[Tensor, int] | None = None
        self._total: float = math.nan

    def keep(self, tick: Tick, args: tuple[Any, ...]) -> bool:
        """Take a batch like those before, which no step that is not sampled has otherwise; return whether it is one."""
        x = args[0] if len(args) == 1 else None
        if type(x) is not Tensor or x.shape != self.shape or x.requires_grad:
            return False
        if not self.keeps:
            return self._copied(tick, x)
        if self._shelf.space <= 0:
            return False
        self.hold(tick, x, x._version)  # noqa: SLF001 - the public way to see a write
        return True

    def hold(self, tick: Tick, x: Tensor, written: int) -> None:
        """Keep the batch of a step before this one, for which there was ``space``."""
        tick.inputs_seen = True
        self._shelf.put(tick, x, written)

    @property
    def space(self) -> int:
        """So many batches more may be kept, or copied."""
        return self._shelf.space if self.keeps else len(self._slots) - len(self._ticks)

    def noted(self, x: object) -> bool:
        """Copy a batch for a step to be named later, if it is like those before; return whether it is.

        Unlike those that are looked at at once it is not asked for entries that are not finite beyond the copy:
        then the loss would be none, and it is looked at again. On a device that comes too late.
        """
        if type(x) is not Tensor or x.shape != self.shape or x.requires_grad or not self._fits(x):
            return False
        slot = self._slots[len(self._ticks)]
        if self._whole:
            slot.copy_(x)
        elif x.is_contiguous():
            slot.copy_(x.as_strided(*self._thin, x.storage_offset()))
        else:
            return False
        self._ticks.append(None)
        exactly = x.is_cuda and self._float and not self._whole
        self._totals.append(x.sum(dtype=torch.float32) if exactly else None)
        return True

    def name(self, tick: Tick) -> None:
        """Say which step the first batch was of that was noted without one."""
        tick.inputs_seen = True
        self._ticks[self._ticks.index(None)] = tick
        if (total := self._totals.popleft()) is not None:
            tick.run["input_total"] = total

    def see_again(self, tick: Tick, x: Tensor) -> None:
        """Look closely at the batch that was noted last: its step is not like those before."""
        self.name(tick)
        if not self._whole:
            self._take_exactly(tick, (x,))

    def _fits(self, x: Tensor) -> bool:
        """Return whether there is room for a batch, and it is of the usual kind."""
        return (
            x.dtype is self._dtype
            and x.layout is torch.strided
            and len(self._ticks) < len(self._slots)
            and x.device == self._bank.device
        )

    def _copied(self, tick: Tick, x: Tensor) -> bool:
        """Write a batch with one call, if there is room and it is of the usual kind; return whether that is so."""
        if not self._fits(x):
            return False
        tick.inputs_seen = True
        if self._whole or x.is_cuda or x.dtype is not torch.float32 or not x.is_contiguous():
            self._copy(x)
            if not self._whole:
                self._take_exactly(tick, (x,))
        else:
            # The same in two calls.
            self._slots[len(self._ticks)].copy_(x.as_strided(*self._thin, x.storage_offset()))
            self._judge_total(tick, x.sum().item())
        self._ticks.append(tick)
        return True

    def take(self, tick: Tick, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take the batch of a step: everything that the model was called with, outermost first."""
        plain = [t for t in map(local, float_tensors((args, kwargs), 3)) if _is_plain(t)]
        if not plain:
            return
        tick.inputs_seen = True
        x = plain[0].detach() if plain[0].requires_grad else plain[0]
        if x.shape != self.shape or x.dtype is not self._dtype or x.device != self._bank.device:
            self.settle()
            self._resize(x)
        if len(self._ticks) == len(self._slots) or self._shelf.space <= 0:
            self.settle()
        slot = self._copy(x)
        self._ticks.append(tick)
        if not self._whole or len(plain) > 1:
            self._take_exactly(tick, plain)
        if tick.sampled:
            self.keeps = _is_small(x) and len(plain) == 1 and self._is_left_alone(plain[0])
        if tick.sampled and self._float:
            tick.run |= {"input_rows": float(x.shape[0]) if x.dim() else 1.0, **_shape_of(slot, x)}

    def _is_left_alone(self, x: Tensor) -> bool:
        """Return whether a batch can be measured later, as the one before could have been."""
        before, self._shown = self._shown, None
        if not can_be_kept(x):
            return False
        self._shown = (x, x._version)  # noqa: SLF001 - the public way to see a write
        if before is None:
            return True
        last, writes = before
        if x.is_cuda and last.data_ptr() == x.data_ptr():
            # As below, but to compare the two would wait for the device.
            return False
        total, self._total = self._total, math.nan
        if last.data_ptr() != x.data_ptr():
            return last._version == writes  # noqa: SLF001 - as above
        # The same memory again: it may have been filled anew in a way that nobody counts.
        self._total = x.sum().item()
        return last._version == writes and total == self._total  # noqa: SLF001 - as above

    def _resize(self, x: Tensor) -> None:
        self.shape, self._float, self._dtype = x.shape, x.is_floating_point(), x.dtype
        self._whole, self.keeps = x.numel() <= ENTRIES, self.keeps and _is_small(x)
        self._shelf.make_room(x.numel(), far=x.is_cuda)
        sample = x if self._whole else flat_view(x, ENTRIES)
        self._thin = tuple(sample.shape), tuple(sample.stride())
        slots = min(MOST_SLOTS, max(SLOTS, BANK // max(1, x.numel())))
        self._bank = torch.empty((slots, *sample.shape), device=x.device)
        self._slots = list(self._bank.unbind())

    def _copy(self, x: Tensor) -> Tensor:
        """Copy a batch, or a sample of it, into the next slot and return that."""
        slot = self._slots[len(self._ticks)]
        return slot.copy_(x if self._whole else flat_view(x, ENTRIES), non_blocking=True)

    def _take_exactly(self, tick: Tick, plain: Sequence[Tensor]) -> None:
        """Look at every entry of every input: a sum is finite only if all of its terms are."""
        totals = [t.detach().sum(dtype=torch.float32) for t in plain if t.is_floating_point()]
        if not totals:
            return
        if totals[0].is_cuda:
            tick.run["input_total"] = totals[0] if len(totals) == 1 else torch.stack(totals).sum()
            return
        self._judge_total(tick, sum(total.item() for total in totals))

    def _judge_total(self, tick: Tick, total: float) -> None:
        """Note whether a batch is bad: the sum of its entries is not finite."""
        bad = not math.isfinite(total)
        tick.run["input_nonfinite"] = float(bad)
        if bad:
            self._on_bad(tick.step)

    @torch.no_grad()
    def settle(self) -> None:
        """Work out the moments of all batches taken since the last call."""
        copied, self._ticks = [tick for tick in self._ticks if tick is not None], []
        if copied:
            self._describe(copied)
        if not self._shelf.ticks:
            return
        ticks, kept, all_are = self._shelf.take()
        self.keeps = self.keeps and all_are
        alike = [(t, x) for t, x in zip(ticks, kept, strict=True) if x.dtype is self._dtype]
        for start in range(0, len(alike), len(self._slots)):
            some = alike[start : start + len(self._slots)]
            ticks, batches = [t for t, _ in some], [x for _, x in some]
            if not self._whole:
                self._add_up(ticks, batches)
                batches = [flat_view(x, ENTRIES) for x in batches]
            self._fill(batches)
            self._describe(ticks)

    def _add_up(self, ticks: Sequence[Tick], batches: list[Tensor]) -> None:
        """Look at every entry of batches on a device, as ``_take_exactly`` does: the sum of their sizes is finite."""
        if self._float:
            wide = self._dtype in WIDE
            flat = [x.float() for x in batches] if wide else batches
            sums = torch._foreach_norm(flat, 1.0, dtype=torch.float32)  # noqa: SLF001 - the batched norm that optimizers use
            ticks[0].blocks += ((("input_total",), torch.stack(sums)[None], ticks),)

    def _fill(self, batches: list[Tensor]) -> None:
        """Copy batches into the first slots."""
        if self._dtype is torch.float32:
            torch.stack(batches, out=self._bank[: len(batches)])
            return
        self._bank[: len(batches)].copy_(torch.stack(batches))

    def _describe(self, ticks: Sequence[Tick]) -> None:
        """Write the moments of the batches in the first slots."""
        rows = self._bank[: len(ticks)].reshape(len(ticks), -1)
        names: tuple[str, ...] = ("input_mean", "input_std", "input_absmax")
        if not self._float:
            names = ("input_int_mean", "input_int_std", "input_int_zero_share")
        if rows.is_cuda:
            far = _far_moments(rows) if self._float else [*_far_moments(rows)[:2], _zeros(rows)]
            ticks[0].blocks += ((names, torch.stack(far), ticks),)
            return
        found = _moments(rows) if self._float else [*_moments(rows)[:2], _zeros(rows).tolist()]
        for tick, *values in zip(ticks, *found, strict=True):
            tick.run.update(zip(names, values, strict=True))
            if self._float and "input_nonfinite" not in tick.run:
                bad = not math.isfinite(values[0])
                tick.run["input_nonfinite"] = float(bad)
                if bad:
                    self._on_bad(tick.step)


def _is_small(x: Tensor) -> bool:
    """Return whether a batch is kept rather than copied."""
    return x.numel() <= (KEPT_FAR if x.is_cuda else KEPT)


def _zeros(x: Tensor) -> Tensor:
    """Return the share of zeros in every row."""
    return (x == 0).float().mean(1)


def _sums(x: Tensor) -> tuple[Tensor, ...]:
    """Return sum, size, largest and smallest entry of every row."""
    return x.sum(1), torch.linalg.vector_norm(x, dim=1), x.amax(1), x.amin(1)


def _far_moments(x: Tensor) -> list[Tensor]:
    """Return mean, deviation and largest size of every row on its device."""
    total, _, high, low = _sums(x)
    mean = total / x.shape[1]
    return [mean, _centred(x, mean).sqrt_(), torch.maximum(high, -low)]


def _moments(x: Tensor) -> list[list[float]]:
    """Return mean, deviation and largest size of every row.

    After the sums a few numbers a row are left, for which Python takes less time than one call of a library.
    """
    totals, sizes, highs, lows = torch.stack(_sums(x)).tolist()
    count = x.shape[1]
    means, squares = [t / count for t in totals], [s * s / count for s in sizes]
    var = [square - mean * mean for square, mean in zip(squares, means, strict=True)]
    if any(v < 1e-3 * square for v, square in zip(var, squares, strict=True)):
        # The difference of two large squares has lost a small deviation: centred, it is not lost.
        var = _centred(x, torch.tensor(means)).tolist()
    most = [max(high, -low) for high, low in zip(highs, lows, strict=True)]
    return [means, [max(v, 0.0) ** 0.5 for v in var], most]


def _centred(x: Tensor, mean: Tensor) -> Tensor:
    """Return the variance of every row around a mean."""
    return (x - mean[:, None]).square_().mean(1)


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor has moments: not sparse, nested, complex, without storage or empty."""
    plain = tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_meta
    return plain and tensor.numel() > 0


def _shape_of(sample: Tensor, x: Tensor) -> dict[str, Tensor | float]:
    """Return the share of zeros, and of a table how far the scales of its columns are apart."""
    found = {"input_zero_share": _zero_share(sample)}
    if x.dim() == 2 and x.shape[0] >= 8 and x.shape[1] >= 2:
        found["input_feature_spread"] = _feature_spread(x)
    return found


def _zero_share(sample: Tensor) -> Tensor | float:
    if sample.is_cuda:
        return (sample == 0).float().mean()
    return 1.0 - torch.count_nonzero(sample).item() / sample.numel()


def _feature_spread(x: Tensor) -> Tensor:
    std = x.float().std(dim=0)
    alive = std > 0
    low = torch.where(alive, std, torch.inf).amin()
    return torch.where(alive.any(), std.amax() / low, torch.ones_like(low))
