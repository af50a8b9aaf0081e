"""Bringing the numbers of closed steps from their device to the host, all in one transfer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.tick import Tick

__all__ = ["fetched", "land"]

Array = NDArray[np.float32]
# What is fetched, and where its numbers go.
Cargo = list[tuple[Tensor, Callable[[Array], None]]]


def land(ticks: Sequence[Tick]) -> bool:
    """Put numbers on the host in the place of those on a device; this waits for the device.

    Returns
    -------
    bool
        Whether all of them are finite.
    """
    cargo: Cargo = []
    for tick in ticks:
        _load(tick, cargo)
    flat = fetched([tensor for tensor, _ in cargo]) if cargo else np.empty(0, np.float32)
    start = 0
    for tensor, put in cargo:
        end = start + tensor.numel()
        put(flat[start:end].reshape(tensor.shape))
        start = end
    for tick in ticks:
        _finish(tick)
    return bool(np.isfinite(flat).all())


def _load(tick: Tick, cargo: Cargo) -> None:
    """Add what of a tick lives on a device."""
    for name, number in tick.run.items():
        if _is_far(number):
            cargo.append((number, partial(_put_number, tick, name)))
    if _is_far(tick.grad):
        cargo.append((tick.grad, partial(setattr, tick, "grad")))
    if _is_far(tick.raw):
        cargo.append((tick.raw, partial(setattr, tick, "raw")))
    for names, values, owners in tick.blocks:
        cargo.append((values, partial(_put_block, names, owners)))
    if tick.sampled:
        _load_rows(tick, "layer", cargo)
        _load_rows(tick, "param", cargo)


def _load_rows(tick: Tick, name: str, cargo: Cargo) -> None:
    for place, rows in enumerate(getattr(tick, name)):
        if _is_far(rows.values):
            cargo.append((rows.values, partial(_put_rows, tick, name, place)))


def _is_far(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_cuda


def _put_number(tick: Tick, name: str, value: Array) -> None:
    tick.run[name] = value.item()


def _put_block(names: Sequence[str], owners: Sequence[Tick], values: Array) -> None:
    for tick, column in zip(owners, values.T.tolist(), strict=True):
        tick.run.update(zip(names, column, strict=False))


def _put_rows(tick: Tick, name: str, place: int, values: Array) -> None:
    found: list[Rows] = list(getattr(tick, name))
    found[place] = found[place]._replace(values=values)
    setattr(tick, name, tuple(found))


def fetched(tensors: Sequence[Tensor]) -> Array:
    """Return the entries of all tensors, one after the other, as float32 on the host."""
    device = tensors[0].device
    flat = torch.cat([t.detach().reshape(-1).to(device, torch.float32) for t in tensors])
    return flat.cpu().numpy()


def _finish(tick: Tick) -> None:
    """Turn what was unfinished into the numbers of a run."""
    tick.blocks = ()
    run = tick.run
    total = run.pop("input_total", run.get("input_mean"))
    if total is not None and "input_nonfinite" not in run:
        run["input_nonfinite"] = float(not math.isfinite(total))
    if tick.scaled and not math.isfinite(run.get("grad_norm_raw", 0.0)):
        # A scaler looks for its factor by overflowing now and then.
        del run["grad_norm_raw"]
