"""Gradients of the watched parameters: their norms, and which of them stand for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neuraldbg.capture.params import norms
from neuraldbg.capture.topology import Blueprint

__all__ = ["Gradients"]


class Gradients:
    """Reads ``.grad`` of the parameters of one blueprint."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._probes: list[int] = []

    def everyone(self) -> range:
        """Return the indices of all parameters."""
        return range(len(self._blueprint.tensors))

    def norms_of(self, chosen: Sequence[int]) -> tuple[list[int], Tensor | None]:
        """Return those of the chosen parameters that hold a gradient, and their norms, shape ``(n,)``."""
        indices, gradients = [], []
        for index in chosen:
            gradient = self._blueprint.tensors[index].grad
            if gradient is not None:
                values = gradient.detach()
                indices.append(index)
                gradients.append(values.coalesce().values() if values.is_sparse else values)
        return indices, torch.stack(norms(gradients)) if gradients else None

    def total(self) -> Tensor:
        """Return the norm over all gradients."""
        _, found = self.norms_of(self.everyone())
        return torch.zeros(()) if found is None else torch.linalg.vector_norm(found)

    def probes(self, order: Sequence[int]) -> list[int]:
        """Return the parameters of the first and of the last layer (in ``order``) that hold a gradient."""
        if not self._probes:
            place = {layer: i for i, layer in enumerate(order)}
            held = [
                (place.get(self._blueprint.params[i].layer, -1), i)
                for i, p in enumerate(self._blueprint.tensors)
                if p.grad is not None and p.dim() >= 2
            ]
            self._probes = sorted({min(held)[1], max(held)[1]}) if held else []
        return self._probes
