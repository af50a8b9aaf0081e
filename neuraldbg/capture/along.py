"""How the gradient of a layer's output is spread along a sequence: whether it fades, position by position.

A recurrence need not be a module that is called once per time step: a state-space layer computes all of them in
one call. What it forgets shows before it: the gradient that it passes on falls from position to position.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from neuraldbg.capture.bank import Rows, by_shape, unit_axis

__all__ = ["LEAST", "Along", "gradual_fall", "time_slopes"]

POSITIONS, LEAST = 256, 8
# Entries that stand for one position, by either of the other axes: the largest is wanted, within a few per cent of a decade.
AMONG = 8
# What a recurrence keeps hardly changes from one step to the next: after so many sampled steps one in so many is enough.
DENSE, SPARSE = 16, 4
# Below this a gradient was flushed to zero in float32: a zero beyond it is the end of a fall, not a missing path.
FLUSHED, FLOOR = 1e-30, 1e-38


class Along:
    """Samples of gradients of sequences, ``(batch, time, units)`` in whatever order."""

    def __init__(self) -> None:
        self._samples: dict[tuple[int, int], Tensor] = {}
        self._steps = 0

    def begin(self) -> None:
        """Forget what the step before left."""
        self._samples = {}

    def take(self, layer: int, kind: str, gradient: Tensor) -> None:
        """Take samples of a gradient along every axis that may be time: any but that of the units.

        Parameters
        ----------
        layer, kind
            The layer, and its kind.
        gradient
            Of its output; of several in one step the last counts.
        """
        if gradient.dim() != 3 or (self._steps >= DENSE and self._steps % SPARSE):
            return
        x = gradient.detach()
        units = unit_axis(kind, x) % 3
        for axis in range(3):
            if axis != units and x.shape[axis] >= LEAST:
                sample = x[_places(tuple(x.shape), axis)].transpose(0, axis)
                self._samples[layer, axis] = sample.abs().amax((1, 2)).float()

    def finish(self) -> list[Rows]:
        """Return the decades by which gradients fall little by little; of two axes the one where they fall further."""
        self._steps += 1
        found: dict[int, list[Tensor]] = {}
        for keys, peaks in by_shape(self._samples):
            for (layer, _), fall in zip(keys, gradual_fall(peaks).unbind(), strict=True):
                found.setdefault(layer, []).append(fall)
        if not found:
            return []
        falls = torch.stack([_further(each) for each in found.values()])
        return [Rows(list(found), ("time_grad_fall",), falls[None])]


@lru_cache(maxsize=4096)
def _places(shape: tuple[int, ...], axis: int) -> tuple[slice, ...]:
    most = [POSITIONS if dim == axis else AMONG for dim in range(len(shape))]
    strides = [-(-size // n) for size, n in zip(shape, most, strict=True)]
    # Counted from the end: what is read at one position is most often read at the last.
    return tuple(slice((size - 1) % s, None, s) for size, s in zip(shape, strides, strict=True))


def _further(falls: list[Tensor]) -> Tensor:
    """Return that of one or two numbers which is further from zero."""
    if len(falls) == 1:
        return falls[0]
    one, other = falls
    return torch.where(one.abs() >= other.abs(), one, other)


def gradual_fall(sizes: Tensor) -> Tensor:
    """Return by how many decades sizes fall from their peak to the far half of the longer side, one jump left out.

    A single position that is read, as the last one, stands out by one jump however far the others are below it, and
    is no fading. Positions without any gradient are not connected and do not count.

    Parameters
    ----------
    sizes
        Shape ``(n, positions)``, not negative.

    Returns
    -------
    Tensor
        Shape ``(n,)``; positive where sizes fall towards the first position, negative where towards the last.
    """
    count = sizes.shape[1]
    there = sizes > 0
    low = torch.where(there, sizes, torch.inf).amin(1, keepdim=True)
    flushed = (low < FLUSHED) & (sizes == 0)
    logs = torch.where(there | flushed, sizes.clamp_min(FLOOR).log10(), torch.nan)
    peak = sizes.argmax(1, keepdim=True)
    back = peak * 2 >= count
    place = torch.arange(count, device=sizes.device)[None]
    away = torch.where(back, peak - place, place - peak)
    reach = torch.where(back, peak, count - 1 - peak)
    far = (away * 2 >= reach) & (away > 0)
    below = torch.where(far, logs, torch.nan)
    level = below.nanmedian(1).values
    jumps = logs.diff(dim=1) * torch.where(back, 1.0, -1.0)
    inside = torch.where(back, place[:, 1:] <= peak, place[:, :-1] >= peak)
    jump = torch.where(inside & ~jumps.isnan(), jumps, 0.0).amax(1)
    top = logs.gather(1, peak)[:, 0]
    fall = (top - level - jump).clamp_min(0.0)
    enough = (~below.isnan()).sum(1) * 2 >= LEAST
    return torch.where(enough, fall, torch.zeros_like(fall)) * torch.where(back[:, 0], 1.0, -1.0)


def time_slopes(layers: list[int], norms: Tensor) -> list[Rows]:
    """Return minus the slope of log norm per step back in time, and the number of steps.

    The slope is positive when gradients vanish in time.
    """
    places: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        places.setdefault(layer, []).append(place)
    logs = norms.clamp_min(1e-30).log()
    rows = []
    for layer, mine in places.items():
        if len(mine) >= 3:
            y = logs[mine]
            x = torch.arange(len(mine), dtype=y.dtype, device=y.device)
            x = x - x.mean()
            slope = -(x * (y - y.mean())).sum() / (x * x).sum()
            found = torch.stack((slope, slope.new_tensor(len(mine) - 1.0)))
            rows.append(Rows([layer], ("time_grad_slope", "time_grad_over"), found[:, None]))
    return rows
