"""Small operations on models and batches from which the faults are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.corpus.program import layer_of
from benchmarks.corpus.task import Batch

__all__ = [
    "change_inputs",
    "fill_bias",
    "matrices",
    "parameters_of",
    "patch_input",
    "patch_output",
    "scale",
]


def matrices(layer: nn.Module) -> list[nn.Parameter]:
    """Return the weights of a layer that have two or more dimensions."""
    return [p for p in layer.parameters() if p.dim() >= 2]


def scale(model: nn.Module, names: Iterable[str], factor: float) -> None:
    """Multiply the weights of layers."""
    for name in names:
        for weight in matrices(layer_of(model, name)):
            weight.mul_(factor)


def fill_bias(model: nn.Module, names: Iterable[str], values: Callable[[Tensor], Tensor]) -> None:
    """Replace the biases of layers."""
    for name in names:
        for key, parameter in layer_of(model, name).named_parameters():
            if "bias" in key:
                parameter.copy_(values(parameter))


def parameters_of(model: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Return the parameters of layers."""
    return [p for name in names for p in layer_of(model, name).parameters()]


def patch_output(model: nn.Module, name: str, change: Callable[[Any], Any]) -> None:
    """Change what a layer's own ``forward`` returns."""
    layer = layer_of(model, name)
    original = layer.forward
    layer.forward = lambda *args, **kwargs: change(original(*args, **kwargs))


def patch_input(model: nn.Module, name: str, change: Callable[[Any], Any]) -> None:
    """Change what a layer's own ``forward`` is given first."""
    layer = layer_of(model, name)
    original = layer.forward
    layer.forward = lambda x, *args, **kwargs: original(change(x), *args, **kwargs)


def change_inputs(batch: Batch, change: Callable[[Tensor], Tensor], *, every: bool = True) -> Batch:
    """Change the float inputs of a batch: all of them, or the first only."""
    inputs, target = batch
    floats = [i for i, x in enumerate(inputs) if x.is_floating_point()]
    chosen = floats if every else floats[:1]
    return tuple(change(x) if i in chosen else x for i, x in enumerate(inputs)), target


def randomised(target: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return a target in which a share of the samples has been given another sample's target."""
    order = torch.randperm(target.shape[0], generator=generator)
    hit = torch.rand(target.shape[0], generator=generator) < share
    hit = hit.view(-1, *[1] * (target.dim() - 1))
    return torch.where(hit, target[order], target)
