"""How normalization layers see their input: values behind a statistic, and how far running statistics are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neuraldbg.capture.bank import Rows, by_shape
from neuraldbg.capture.reduce import given

__all__ = [
    "NORMALIZING",
    "STATISTICS",
    "NormSample",
    "function_sample",
    "norm_sample",
    "reduce_norms",
]

BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the only common base
# Functions that normalize, and their arguments in order.
FUNCTIONS = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "instance_norm": (
        *("input", "running_mean", "running_var", "weight", "bias"),
        *("use_input_stats", "momentum", "eps"),
    ),
    "batch_norm": (
        *("input", "running_mean", "running_var", "weight", "bias"),
        *("training", "momentum", "eps"),
    ),
}
# What a normalization that the user wrote asks of its input.
STATISTICS = frozenset({"mean", "var", "std", "var_mean", "std_mean"})
NORMALIZING = STATISTICS | FUNCTIONS.keys()
ROWS = 64
CHANNELS, OBSERVATIONS = 16, 1024


class NormSample(NamedTuple):
    """A sample of what one normalization layer divides by.

    ``values`` has shape ``(statistics, observations)``; ``behind`` values stand behind a statistic in the
    layer itself; ``running`` is the layer's own running variance of the same statistics.
    """

    values: Tensor
    eps: float
    behind: int
    running: Tensor | None


def norm_sample(module: nn.Module, x: Tensor) -> NormSample | None:
    """Return a sample of the input of a normalization layer; None if it does not normalize it now."""
    eps = float(getattr(module, "eps", 1e-5) or 1e-5)
    z = x.detach()
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        z = z.reshape(_statistics(module, z), -1)
        rows = z[:: max(1, z.shape[0] // ROWS) | 1]
        return NormSample(rows.to(torch.float32, copy=True), eps, z.shape[1], None)
    if not isinstance(module, BATCH_NORM) or z.dim() < 2 or not module.training:
        return None
    step = -(-z.shape[1] // CHANNELS)
    count = z.numel() // max(z.shape[1], 1)
    some = z[:, ::step].transpose(0, 1).reshape(-(-z.shape[1] // step), -1)
    some = some[:, :: (count // OBSERVATIONS) | 1 if count > OBSERVATIONS else 1]
    running = module.running_var
    kept = None if running is None else running.detach()[::step].float()
    return NormSample(some.to(torch.float32, copy=True), eps, count, kept)


def function_sample(
    name: str, args: Sequence[Any], kw: Mapping[str, Any], eps: float
) -> NormSample | None:
    """Return a sample of the input of a function that normalizes, or takes a statistic to do so; None if it does not.

    Parameters
    ----------
    name, args, kw
        The function of ``torch.nn.functional``, or a statistic of the input, and what it was given.
    eps
        What is added to a statistic, where the function is not told.
    """
    if name in STATISTICS:
        dim = kw.get("dim", kw.get("axis", args[1] if len(args) > 1 else None))
        return _sampled(_reduced(args[0].detach(), dim), eps)
    named = given(FUNCTIONS[name], args, kw)
    x, own = named["input"].detach(), named.get("eps", 1e-5)
    if not (named.get("use_input_stats", True) and named.get("training", name != "batch_norm")):
        return None
    if name == "layer_norm":
        return _sampled(x.reshape(-1, prod(named["normalized_shape"])), own)
    if name == "batch_norm":
        return _sampled(x.transpose(0, 1).reshape(x.shape[1], -1), own)
    per_row = named["num_groups"] if name == "group_norm" else x.shape[1]
    return _sampled(x.reshape(x.shape[0] * per_row, -1), own)


def _reduced(x: Tensor, dim: object) -> Tensor:
    """Return a tensor with the axes of a statistic laid out as the last one; all of them where none is given."""
    some = dim if isinstance(dim, (tuple, list)) else [dim]
    axes = {int(d) % x.dim() for d in some if isinstance(d, int) and not isinstance(d, bool)}
    axes = axes or {*range(x.dim())}
    kept = [d for d in range(x.dim()) if d not in axes]
    count = prod(x.shape[d] for d in axes)
    return x.permute(*kept, *sorted(axes)).reshape(-1, count)


def _sampled(z: Tensor, eps: float) -> NormSample | None:
    """Return a sample of values of shape ``(statistics, observations)``, None if there are none."""
    if not z.numel():
        return None
    count = z.shape[1]
    rows = z[:: max(1, z.shape[0] // ROWS) | 1]
    rows = rows[:, :: (count // OBSERVATIONS) | 1 if count > OBSERVATIONS else 1]
    return NormSample(rows.to(torch.float32, copy=True), float(eps), count, None)


def _statistics(module: nn.LayerNorm | nn.GroupNorm, z: Tensor) -> int:
    """Return how many statistics the layer computes of an input; the values behind each lie together."""
    if isinstance(module, nn.GroupNorm):
        return int(z.shape[0]) * module.num_groups
    return z.numel() // max(int(torch.Size(module.normalized_shape).numel()), 1)


def reduce_norms(samples: dict[int, NormSample]) -> list[Rows]:
    """Return how many values stand behind a statistic and how many variances are of the size of epsilon.

    Where there is a running variance, also how far it is off: log ratio, median over channels.
    """
    out = []
    for layers, z in by_shape({layer: s.values for layer, s in samples.items()}):
        mine = [samples[layer] for layer in layers]
        centred = z - z.mean(-1, keepdim=True)
        var = centred.mul_(centred).mean(-1)
        eps = torch.tensor([[s.eps] for s in mine]).to(z.device, non_blocking=True)
        count = torch.tensor([float(s.behind) for s in mine]).to(z.device, non_blocking=True)
        flat = (var < 10 * eps).float().mean(1)
        out.append(Rows(layers, ("norm_var_min", "norm_count"), torch.stack((flat, count))))
        known = [i for i, s in enumerate(mine) if s.running is not None]
        if known:
            running = torch.stack([s.running for s in mine if s.running is not None])
            gap = ((var[known] + eps[known]).log() - (running + eps[known]).log()).abs()
            names = ("norm_stat_gap",)
            out.append(Rows([layers[i] for i in known], names, gap.median(1).values[None]))
    return out
