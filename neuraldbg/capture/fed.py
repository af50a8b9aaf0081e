"""What layers are fed that no parameter has touched: the data as the network sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.bank import Rows, by_shape, unit_axis, unit_sample
from neuraldbg.capture.shards import local
from neuraldbg.records.recording import LayerInfo, behind_parameters

__all__ = ["Feeds", "is_data"]

# The scale of data shows in the first sampled steps; later ones cost and say the same.
STEPS = 4
ENTRIES = 4096
# Layers that multiply what they are fed, or normalize it; what others do to it is not known.
KINDS = frozenset({"linear", "conv", "recurrent", "attention", "norm"})


class Feeds:
    """Samples of what data is fed to which layer, in the first sampled steps."""

    def __init__(self) -> None:
        self.samples: dict[int, Tensor] = {}
        self._steps = 0

    def begin(self) -> None:
        """Forget what the step before left."""
        self.samples = {}

    def take(self, layer: int, kind: str, args: tuple[Any, ...], *, leaves: bool) -> None:
        """Take what a layer is called with, if it is data.

        Parameters
        ----------
        layer, kind
            The layer, and its kind.
        args
            What it was called with.
        leaves
            Whether data may ask for a gradient, as inputs of an equation do: not where copies of activations do.
        """
        if self._steps < STEPS and kind in KINDS and args and isinstance(args[0], Tensor):
            x = local(args[0])
            if is_data(x, leaves=leaves):
                self.samples[layer] = unit_sample(x, unit_axis(kind, x), ENTRIES)

    def finish(
        self,
        layers: Sequence[LayerInfo],
        edges: Iterable[tuple[int, int]],
        place: Mapping[int, int],
    ) -> list[Rows]:
        """Return mean and deviation of the data, and how far the scales of its features are apart.

        Parameters
        ----------
        layers, edges
            Of the model, and which feed which: what comes from layers with parameters is no data.
        place
            Layer to its place in the order of first calls: what comes later in a loop does not feed the first call, which
            is the one that is looked at.
        """
        if not self.samples:
            return []
        self._steps += 1
        last = len(place)
        ahead = [(a, b) for a, b in edges if place.get(a, -1) < place.get(b, last)]
        for layer in behind_parameters(layers, ahead):
            self.samples.pop(layer, None)
        return [_moments(alike, x) for alike, x in by_shape(self.samples)]


def is_data(x: Tensor, *, leaves: bool) -> bool:
    """Return whether a tensor is a batch that no parameter took part in making, as far as autograd can tell.

    Where it is off, as in the first run of a checkpoint, the dataflow between layers has to tell.
    """
    if isinstance(x, nn.Parameter):
        return False
    plain = x.is_floating_point() and x.dim() >= 2 and x.numel() > 0 and x.layout == torch.strided
    return plain and (not x.requires_grad or (leaves and x.is_leaf))


def _moments(layers: list[int], x: Tensor) -> Rows:
    flat = x.flatten(1)
    numbers = {"fed_mean": flat.mean(1), "fed_std": flat.std(1, correction=0)}
    if x.shape[1] >= 8 and x.shape[2] >= 2:
        numbers["fed_spread"] = _spread(x)
    return Rows(layers, tuple(numbers), torch.stack(list(numbers.values())))


def _spread(x: Tensor) -> Tensor:
    """Return the largest deviation of a feature over the smallest, shape ``(layers,)``; constant ones are left out."""
    std = x.std(1)
    alive = std > 0
    low = torch.where(alive, std, torch.inf).amin(1)
    return torch.where(alive.any(1), std.amax(1) / low, torch.ones_like(low))
