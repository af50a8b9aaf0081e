"""Samples of many tensors reduced together: the number of operations does not grow with the layers.

Samples are copies taken at once, because an in-place operation may change the tensor right after. Nothing
here waits for the device.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuraldbg.capture.reduce import on_one_device
from neuraldbg.capture.shards import local

__all__ = [
    "Rows",
    "as_real",
    "by_shape",
    "flat_view",
    "lay",
    "memory_sample",
    "reduce_gradients",
    "reduce_outputs",
    "unit_axis",
    "unit_sample",
]

# Entries of a tensor that stand for it: each is a cache miss, and the error of a norm is 1/sqrt(2 n), 3 %.
ENTRIES = 512
MIN_OBSERVATIONS = 16
Key = TypeVar("Key", bound=Hashable)
UNITS_LAST = frozenset({"linear", "embedding", "recurrent", "attention"})


class Rows(NamedTuple):
    """Named numbers of the same layers or parameters.

    ``values`` has shape ``(len(names), len(indices))`` and stays on its device until it may be read; from then on
    it is an array of NumPy.
    """

    indices: Sequence[int]
    names: tuple[str, ...]
    values: Tensor | NDArray[np.float32]


# -- taking samples -----------------------------------------------------------------------------


def as_real(tensor: Tensor) -> Tensor:
    """Return complex numbers as pairs of real ones, in an axis of their own; others as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def flat_view(tensor: Tensor, entries: int = ENTRIES) -> Tensor:
    """Return at most ``entries`` entries, evenly spread, as a flat view where the layout allows one.

    All of a smaller tensor. The stride shares no factor with the size of an example (or row), so that every position of
    it is met: a gradient may be there at one position only, as where the last of a sequence is read.
    """
    x = as_real(local(tensor).detach())
    size = x.numel()
    stride = _stride(size, entries, size // x.shape[0]) if size > entries else 1
    length = (size - 1) // stride + 1
    if x.is_contiguous():
        return x.as_strided((length,), (stride,), x.storage_offset())
    return x.reshape(-1)[::stride]


@lru_cache(maxsize=4096)
def _stride(size: int, entries: int, width: int) -> int:
    """Return the shortest stride that gives no more entries and shares no factor with the width."""
    stride = -(-size // entries)
    while gcd(stride, width) > 1:
        stride += 1
    return stride


def memory_sample(tensor: Tensor, entries: int = ENTRIES) -> Tensor:
    """Return a copy of at most ``entries`` entries, evenly spread, in whatever order is cheapest."""
    tensor = local(tensor)
    if not tensor.is_contiguous():
        # A tensor of turned axes lies in memory without gaps all the same.
        strides = tensor.stride()
        tensor = tensor.permute(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))
    if tensor.is_contiguous():
        return flat_view(tensor, entries).clone()
    return unit_sample(tensor, -1, entries).reshape(-1)


def unit_axis(kind: str, tensor: Tensor, shapes: Iterable[Sequence[int]] = ()) -> int:
    """Return the axis of the units: 1 for images and convolutions, otherwise the last.

    A module of the user's own may be a convolution: it has a kernel of as many axes as what it gives, among ``shapes``.
    """
    if tensor.dim() >= 4 and any(
        len(shape) == tensor.dim() and shape[0] == tensor.shape[1] for shape in shapes
    ):
        return 1
    if kind in UNITS_LAST:
        return -1
    return 1 if tensor.dim() >= 4 or (tensor.dim() == 3 and kind == "conv") else -1


def unit_sample(tensor: Tensor, axis: int, limit: int) -> Tensor:
    """Return a float32 copy ``(observations, units)`` of about ``limit`` entries of an activation.

    Parameters
    ----------
    tensor
        Any floating activation; its first axis is the batch.
    axis
        The axis of the units or channels: 1 or -1.
    limit
        Entries; units are thinned out only where fewer than 16 observations each would be left.
    """
    x = tensor.detach()
    places, moved = _plan(tuple(x.shape), axis, limit)
    if places is not None:
        x = x[places]
    if moved is not None:
        x = x.permute(moved)
    x = x.reshape(-1, x.shape[-1]) if x.dim() > 1 else x.reshape(-1, 1)
    # A copy that was made on the way has an address of its own.
    return x.to(torch.float32, copy=x.data_ptr() == tensor.data_ptr())


@lru_cache(maxsize=4096)
def _plan(
    shape: tuple[int, ...], axis: int, limit: int
) -> tuple[tuple[slice, ...] | None, tuple[int, ...] | None]:
    """Return the slices of a sample, and the order of axes that puts the units last; None for neither."""
    if not shape:
        return None, None
    axis = len(shape) - 1 if len(shape) == 1 else axis % len(shape)
    strides = [1] * len(shape)
    if len(shape) > 1:
        strides[axis] = -(-shape[axis] // max(1, limit // MIN_OBSERVATIONS))
    # Positions are thinned out before examples: neighbours in an image or a text say the same.
    for dim in (*(d for d in range(1, len(shape)) if d != axis), *((0,) if axis else ())):
        over = _size(shape, strides) / limit
        room = max(1, shape[dim] // 4) if dim else shape[dim]
        if over > 1:
            strides[dim] = min(int(-(-over // 1)) | 1, max(1, room))
    places = tuple(slice(None, None, s) for s in strides)
    moved = (*(d for d in range(len(shape)) if d != axis), axis)
    thin, straight = any(s > 1 for s in strides), moved == tuple(range(len(shape)))
    return places if thin else None, None if straight else moved


def _size(shape: tuple[int, ...], strides: Sequence[int]) -> int:
    size = 1
    for length, stride in zip(shape, strides, strict=True):
        size *= -(-length // stride)
    return size


# -- laying them side by side -------------------------------------------------------------------


def lay(samples: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lay flat samples side by side, padded with zeros, in one operation.

    Returns
    -------
    bank
        float32, shape ``(samples, longest)``.
    counts
        float32, shape ``(samples,)``; how many entries of a row are not padding.
    """
    samples = on_one_device(samples)
    lengths = tuple(s.numel() for s in samples)
    width, pads, counts = _padding(lengths, samples[0].device)
    if pads is None:
        return torch.stack(tuple(samples)).float(), counts
    pieces = [piece for pair in zip(samples, pads, strict=True) for piece in pair]
    return torch.cat(pieces).float().view(len(samples), width), counts


@lru_cache(maxsize=64)
def _padding(
    lengths: tuple[int, ...], device: torch.device
) -> tuple[int, tuple[Tensor, ...] | None, Tensor]:
    width = max(lengths)
    counts = torch.tensor(lengths, dtype=torch.float32).to(device, non_blocking=True)
    if min(lengths) == width:
        return width, None, counts
    zeros = torch.zeros(width, device=device)
    return width, tuple(zeros[: width - length] for length in lengths), counts


def by_shape(samples: Mapping[Key, Tensor]) -> Iterable[tuple[list[Key], Tensor]]:
    """Yield layers (or other keys) whose samples have one shape, and these samples stacked."""
    groups: dict[Hashable, list[Key]] = {}
    for layer, sample in samples.items():
        groups.setdefault((sample.shape, sample.device), []).append(layer)
    for layers in groups.values():
        yield layers, torch.stack([samples[layer] for layer in layers])


# -- numbers ------------------------------------------------------------------------------------

OUTPUT_NAMES = ("act_rms", "act_mean", "act_std", "act_absmax", "nonfinite_share")
GRADIENT_NAMES = ("out_grad_norm", "out_grad_rms", "out_grad_zero_share")


def reduce_outputs(samples: Mapping[int, Tensor]) -> list[Rows]:
    """Return size, spread, extremes and non-finite share of layers' outputs.

    ``act_std`` is the deviation over the batch averaged over units: a bias does not hide a collapse.

    Parameters
    ----------
    samples
        Layer to a sample ``(observations, units)``.
    """
    return [_outputs(layers, x) for layers, x in by_shape(samples) if x.numel()]


def _outputs(layers: list[int], x: Tensor) -> Rows:
    mean = x.mean(1)
    # Centred first: the difference of two large squares would lose a small variance.
    centred = x - mean[:, None]
    var = centred.mul_(centred).mean(1)
    numbers = (
        (var + mean * mean).mean(1).sqrt_(),
        mean.mean(1),
        var.sqrt().mean(1),
        x.abs().flatten(1).amax(1),
        1.0 - torch.isfinite(mean).float().mean(1),
    )
    return Rows(layers, OUTPUT_NAMES, torch.stack(numbers))


def reduce_gradients(
    taken: Sequence[tuple[int, Tensor, int]],
) -> tuple[list[Rows], Tensor | None]:
    """Return norm, root mean square and zero share of the gradients of layers' outputs.

    Parameters
    ----------
    taken
        Layer, flat sample and number of entries of the whole, in order of arrival; of several for one
        layer the last counts.

    Returns
    -------
    rows
        Numbers of every layer.
    norms
        The norm of every gradient taken, shape ``(taken,)``; None if there was none.
    """
    if not taken:
        return [], None
    bank, counts = lay([sample for _, sample, _ in taken])
    whole = torch.tensor([float(size) for *_, size in taken]).to(bank.device, non_blocking=True)
    rms = ((bank * bank).sum(1) / counts).sqrt_()
    zeros = ((bank == 0).sum(1) - (bank.shape[1] - counts)) / counts
    norm = rms * whole.sqrt()
    values = torch.stack((norm, rms, zeros))
    last = {layer: place for place, (layer, *_) in enumerate(taken)}
    if len(last) < len(taken):
        values = values[:, list(last.values())]
    return [Rows(list(last), GRADIENT_NAMES, values)], norm
