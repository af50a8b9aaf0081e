"""Moments of every batch: a small copy is taken at every step and many are reduced together later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.bank import flat_view
from neuraldbg.capture.reduce import float_tensors
from neuraldbg.capture.shards import local
from neuraldbg.capture.tick import Tick

__all__ = ["InputLog"]

# A batch up to this size is copied whole; so many entries stand for a larger one.
ENTRIES = 16_384
SLOTS = 32


class InputLog:
    """Keeps a sample of the first model input of the last few steps.

    Parameters
    ----------
    on_bad
        Told the step of a batch with a non-finite value.
    """

    def __init__(self, on_bad: Callable[[int], None]) -> None:
        self._on_bad = on_bad
        self._shape: torch.Size | None = None
        self._float = True
        self._dtype = torch.float32
        self._whole = False
        self._bank = torch.empty(0)
        self._slots: list[Tensor] = []
        self._ticks: list[Tick] = []

    def take(self, tick: Tick, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take the batch of a step: everything that the model was called with, outermost first."""
        x = args[0] if len(args) == 1 and not kwargs else None
        if (
            type(x) is Tensor
            and x.shape == self._shape
            and x.dtype is self._dtype
            and x.layout is torch.strided
            and not x.requires_grad
            and not tick.sampled
            and len(self._ticks) < SLOTS
            and x.device == self._bank.device
        ):
            # As before, and written without a call of ours: this is what nearly every step comes to.
            tick.inputs_seen = True
            whole = x if self._whole else flat_view(x, ENTRIES)
            self._slots[len(self._ticks)].copy_(whole, non_blocking=True)
            self._ticks.append(tick)
            if not self._whole:
                self._take_exactly(tick, args)
            return
        plain = [t for t in map(local, float_tensors((args, kwargs), 3)) if _is_plain(t)]
        if not plain:
            return
        tick.inputs_seen = True
        x = plain[0].detach() if plain[0].requires_grad else plain[0]
        if (
            x.shape != self._shape
            or x.is_floating_point() != self._float
            or x.device != self._bank.device
        ):
            self.settle()
            self._resize(x)
        if len(self._ticks) == SLOTS:
            self.settle()
        slot = self._copy(x)
        self._ticks.append(tick)
        if not self._whole or len(plain) > 1:
            self._take_exactly(tick, plain)
        if tick.sampled and self._float:
            tick.run |= {"input_rows": float(x.shape[0]) if x.dim() else 1.0, **_shape_of(slot, x)}

    def _resize(self, x: Tensor) -> None:
        self._shape, self._float, self._dtype = x.shape, x.is_floating_point(), x.dtype
        self._whole = x.numel() <= ENTRIES
        shape = x.shape if self._whole else flat_view(x, ENTRIES).shape
        self._bank = torch.empty((SLOTS, *shape), device=x.device)
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
        bad = not all(math.isfinite(total.item()) for total in totals)
        tick.run["input_nonfinite"] = float(bad)
        if bad:
            self._on_bad(tick.step)

    def settle(self) -> None:
        """Work out the moments of all batches taken since the last call."""
        ticks, self._ticks = self._ticks, []
        if not ticks:
            return
        rows = self._bank[: len(ticks)].reshape(len(ticks), -1)
        numbers = _moments(rows)
        if self._float:
            names: tuple[str, ...] = ("input_mean", "input_std", "input_absmax")
        else:
            names = ("input_int_mean", "input_int_std", "input_int_zero_share")
            numbers[2] = (rows == 0).float().mean(1)
        if numbers.is_cuda:
            ticks[0].blocks += ((names, numbers, ticks),)
            return
        for tick, values in zip(ticks, numbers.T.tolist(), strict=True):
            tick.run.update(zip(names, values, strict=False))
            if self._float and "input_nonfinite" not in tick.run:
                bad = not math.isfinite(values[0])
                tick.run["input_nonfinite"] = float(bad)
                if bad:
                    self._on_bad(tick.step)


def _moments(x: Tensor) -> Tensor:
    """Return mean, deviation and largest size of every row, shape ``(3, rows)``."""
    count = x.shape[1]
    mean = x.sum(1) / count
    square = torch.linalg.vector_norm(x, dim=1).square_() / count
    var = square - mean * mean
    if x.is_cuda or bool((var < 1e-3 * square).any()):
        # The difference of two large squares has lost a small deviation: centred, it is not lost.
        var = (x - mean[:, None]).square_().mean(1)
    return torch.stack((mean, var.clamp_min_(0.0).sqrt_(), torch.maximum(x.amax(1), -x.amin(1))))


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
