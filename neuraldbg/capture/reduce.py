"""Tensors to a few numbers on their own device; nothing here waits for the device or touches an RNG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = [
    "Numbers",
    "first_float",
    "float_tensors",
    "gradient_numbers",
    "in_full_precision",
    "input_numbers",
    "output_numbers",
    "regime_numbers",
    "strided",
    "units",
]

Numbers = list[tuple[str, Tensor]]

MAX_ROWS = 256
MAX_POSITIONS = 8
MAX_UNITS = 4096
MAX_SAMPLE = 4096

# Pre-activation size beyond which the derivative is below 5 % of its largest value (mechanisms.md A3).
FLAT_INPUT = {
    "tanh": 2.2,
    "sigmoid": 4.4,
    "hardtanh": 1.0,
    "hardsigmoid": 3.0,
    "softsign": 3.5,
}
# The same points on the output of the nonlinearity: distance from its middle.
FLAT_OUTPUT = {
    "tanh": 0.9757,
    "sigmoid": 0.4879,
    "hardtanh": 0.9999,
    "hardsigmoid": 0.4999,
    "softsign": 0.7778,
}
MIDDLE = {"sigmoid": 0.5, "hardsigmoid": 0.5}
# Pre-activation below which a unit passes neither signal nor gradient.
SILENT_BELOW = {"relu": 0.0, "relu6": 0.0, "gelu": -3.0, "silu": -7.0}


def in_full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast; entering one costs microseconds, so only where it is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def float_tensors(value: object, depth: int = 2) -> Iterator[Tensor]:
    """Yield the tensors inside tuples, lists, dicts and dataclass-like outputs, outermost first."""
    if isinstance(value, Tensor):
        yield value
    elif depth > 0 and isinstance(value, (tuple, list)):
        for item in value:
            yield from float_tensors(item, depth - 1)
    elif depth > 0 and isinstance(value, dict):
        for item in value.values():
            yield from float_tensors(item, depth - 1)


def first_float(value: object) -> Tensor | None:
    """Return the first floating-point tensor inside a value, None if there is none."""
    return next((t for t in float_tensors(value) if t.is_floating_point()), None)


def strided(tensor: Tensor, limit: int = MAX_SAMPLE) -> Tensor:
    """Return at most ``limit`` entries of a tensor as a flat view or copy, evenly spread.

    The stride is odd, so that it does not fall on one column of a power-of-two layout again and again.
    """
    flat = tensor.detach().reshape(-1)
    if flat.numel() <= limit:
        return flat
    return flat[:: (flat.numel() // limit) | 1]


def units(tensor: Tensor, axis: int) -> Tensor:
    """Return a 2-D float32 view ``(observations, units)`` of a subsample of an activation.

    Parameters
    ----------
    tensor
        Any floating activation; its first axis is the batch.
    axis
        The axis of the units or channels.
    """
    x = tensor.detach()
    if x.dim() == 0:
        return x.reshape(1, 1).float()
    if x.dim() == 1:
        return x[: MAX_ROWS * 4].reshape(-1, 1).float()
    axis %= x.dim()
    places = []
    for dim, size in enumerate(x.shape):
        limit = MAX_UNITS if dim == axis else (MAX_ROWS if dim == 0 else MAX_POSITIONS**2)
        if x.dim() > 3 and dim not in (0, axis):
            limit = MAX_POSITIONS
        places.append(slice(None, None, max(1, -(-size // limit))))
    x = x[tuple(places)].movedim(axis, -1)
    return x.reshape(-1, x.shape[-1]).float()


def output_numbers(tensor: Tensor, axis: int) -> Numbers:
    """Return size, spread, extremes and non-finite share of a layer's output.

    ``act_std`` is the deviation over the batch averaged over units: a bias does not hide a collapse.
    """
    x = units(tensor, axis)
    if x.numel() == 0:
        return []
    mean = x.mean(dim=0)
    # Centred first: the difference of two large squares would lose a small variance.
    centred = x - mean
    var = (centred * centred).mean(dim=0)
    low, high = torch.aminmax(x)
    return [
        ("act_rms", (var + mean * mean).mean().sqrt()),
        ("act_mean", mean.mean()),
        ("act_std", var.sqrt().mean()),
        ("act_absmax", torch.maximum(high, -low)),
        ("nonfinite_share", 1.0 - torch.isfinite(mean).float().mean()),
    ]


def regime_numbers(
    tensor: Tensor, axis: int, activation: str, *, is_input: bool
) -> tuple[Numbers, Tensor | None]:
    """Return the saturated share, and which units are silent for the whole batch.

    Parameters
    ----------
    tensor
        Input of the nonlinearity, or its output.
    axis
        The axis of the units.
    activation
        Catalogue name of the nonlinearity.
    is_input
        Whether ``tensor`` is the input.

    Returns
    -------
    numbers
        ``saturated_share`` for bounded nonlinearities; empty for others.
    silent
        Shape ``(units,)``, bool, for rectifiers; None for others.
    """
    if activation in FLAT_INPUT:
        x = strided(tensor).float()
        if is_input:
            share = (x.abs() > FLAT_INPUT[activation]).float().mean()
        else:
            far = (x - MIDDLE.get(activation, 0.0)).abs()
            share = (far > FLAT_OUTPUT[activation]).float().mean()
        return [("saturated_share", share)], None
    floor = SILENT_BELOW.get(activation)
    if floor is None or tensor.dim() < 2 or (not is_input and activation not in {"relu", "relu6"}):
        return [], None
    return [], units(tensor, axis).amax(dim=0) <= floor


def gradient_numbers(gradient: Tensor) -> Numbers:
    """Return norm, root mean square and zero share of the gradient of a layer's output."""
    g = gradient.detach()
    if g.dtype != torch.float32:
        g = g.float()
    norm = torch.linalg.vector_norm(g)
    return [
        ("out_grad_norm", norm),
        ("out_grad_rms", norm / max(g.numel(), 1) ** 0.5),
        ("out_grad_zero_share", (strided(g) == 0).float().mean()),
    ]


def input_numbers(tensors: list[Tensor], *, closely: bool) -> list[tuple[str, Tensor | float]]:
    """Return moments of the first model input; integer inputs have their own names.

    ``input_nonfinite`` is exact over every floating input: a sum is finite only if all of its terms are
    (a finite overflow is told apart where it happens).

    Parameters
    ----------
    tensors
        Everything that the model was called with.
    closely
        Whether the step is sampled: shares and feature scales are left out otherwise.
    """
    if not tensors:
        return []
    x = tensors[0].detach()
    sample = strided(x, 4 * MAX_SAMPLE).float()
    if sample.numel() == 0:
        return []
    moments = _moments(sample)
    if not x.is_floating_point():
        return [
            ("input_int_mean", moments["mean"]),
            ("input_int_std", moments["std"]),
            ("input_int_zero_share", (sample == 0).float().mean()),
        ]
    # A small input was read as a whole: its mean tells what a second sum would.
    mean, whole = moments["mean"], sample.numel() == x.numel() and len(tensors) == 1
    small = isinstance(mean, float) and whole
    out: list[tuple[str, Tensor | float]] = [
        *((f"input_{name}", value) for name, value in moments.items()),
        ("input_nonfinite", float(not math.isfinite(mean)) if small else _nonfinite(tensors)),
    ]
    if closely:
        out.append(("input_zero_share", (sample == 0).float().mean()))
        if x.dim() == 2 and x.shape[0] >= 8 and x.shape[1] >= 2:
            out.append(("input_feature_spread", _feature_spread(x)))
    return out


def _moments(sample: Tensor) -> dict[str, Tensor | float]:
    """Return mean, deviation and largest size; plain numbers where reading them stalls nothing."""
    var, mean = torch.var_mean(sample, correction=0)
    low, high = torch.aminmax(sample)
    if sample.is_cuda:
        return {"mean": mean, "std": var.sqrt(), "absmax": torch.maximum(high, -low)}
    return {"mean": float(mean), "std": float(var) ** 0.5, "absmax": max(float(high), -float(low))}


def _nonfinite(tensors: list[Tensor]) -> Tensor:
    totals = [t.detach().sum(dtype=torch.float32) for t in tensors if t.is_floating_point()]
    bad = torch.stack([~torch.isfinite(total) for total in totals])
    return bad.any().float()


def _feature_spread(x: Tensor) -> Tensor:
    std = x.float().std(dim=0)
    alive = std > 0
    low = torch.where(alive, std, torch.inf).amin()
    return torch.where(alive.any(), std.amax() / low, torch.ones_like(low))
