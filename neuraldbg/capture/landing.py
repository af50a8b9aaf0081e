"""Bringing the numbers of closed steps from their device to the host, all in one transfer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.tick import Tick

__all__ = ["land"]


def land(ticks: Sequence[Tick]) -> None:
    """Put numbers on the host in the place of those on a device; this waits for the device."""
    far: list[Tensor] = []

    def collect(number: Tensor) -> Tensor:
        far.append(number)
        return number

    for tick in ticks:
        _exchange(tick, collect)
    if not far:
        return
    arrived = iter(_fetch(far))
    for tick in ticks:
        _exchange(tick, lambda _: next(arrived))
        _spread(tick)


def _exchange(tick: Tick, by: Callable[[Tensor], Tensor]) -> None:
    """Put something in the place of every tensor of a tick that lives on a device, always in the same order."""
    if any(isinstance(loss, Tensor) and loss.is_cuda for loss in tick.losses):
        tick.losses = tuple(
            by(x) if isinstance(x, Tensor) and x.is_cuda else x for x in tick.losses
        )
    for name, number in tick.run.items():
        if isinstance(number, Tensor) and number.is_cuda:
            tick.run[name] = by(number)
    for name in ("grad", "raw"):
        found = getattr(tick, name)
        if isinstance(found, Tensor) and found.is_cuda:
            setattr(tick, name, by(found))
    tick.blocks = tuple((names, by(x)) if x.is_cuda else (names, x) for names, x in tick.blocks)
    if tick.sampled:
        tick.layer = tuple(_rows(rows, by) for rows in tick.layer)
        tick.param = tuple(_rows(rows, by) for rows in tick.param)


def _rows(rows: Rows, by: Callable[[Tensor], Tensor]) -> Rows:
    return rows._replace(values=by(rows.values)) if rows.values.is_cuda else rows


def _fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors as float32 on the host, each with its shape."""
    device = tensors[0].device
    flat = torch.cat([t.detach().reshape(-1).to(device, torch.float32) for t in tensors]).cpu()
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def _spread(tick: Tick) -> None:
    """Turn what was kept together, or unfinished, into the numbers of a run."""
    for names, values in tick.blocks:
        tick.run.update(zip(names, values.tolist(), strict=False))
    tick.blocks = ()
    total = tick.run.pop("input_total", tick.run.get("input_mean"))
    if total is not None and "input_nonfinite" not in tick.run:
        tick.run["input_nonfinite"] = float(not math.isfinite(total))
    if tick.scaled and not math.isfinite(tick.run.get("grad_norm_raw", 0.0)):
        # A scaler looks for its factor by overflowing now and then.
        del tick.run["grad_norm_raw"]
