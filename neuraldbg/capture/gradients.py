"""Gradients of the watched parameters: whether a backward pass reached them, their norms, a probe for all."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.drawn import similarity
from neuraldbg.capture.params import norms
from neuraldbg.capture.reduce import stack_together
from neuraldbg.capture.shards import local, local_gradient
from neuraldbg.capture.topology import Blueprint

__all__ = ["Gradients", "together"]

# A larger probe would cost more than it tells.
PROBE_ENTRIES = 1_000_000
# A gradient up to this size is kept for a while instead of being measured at once. To keep larger ones leaves the
# loop no warm memory for the next: 64 KiB in every step took ten times as long as the measurement
# (`benchmarks.overhead`, mlp 4x256). A device has no such memory, and larger ones are kept there.
KEPT_ENTRIES, KEPT_FAR = 8192, 131_072
# So many backward passes are watched at every parameter before a few stand for all.
LEARNING = 8


# Steps at which the similarity of units is measured (mechanisms.md section 9, 13).
SIMILARITY_STEPS = frozenset({0, 5, 20})


class Gradients:
    """Reads ``.grad`` of the parameters of one blueprint."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._probe = -1
        self._learning = LEARNING
        self._signs: list[int] = []
        self._before: list[tuple[int, Tensor | None, int]] = []
        self._left: list[tuple[int, weakref.ref[Tensor], int]] = []

    # -- did a backward pass come here? ---------------------------------------------------------

    def mark(self) -> None:
        """A backward pass begins: remember the gradients of a few parameters that tell whether it is ours."""
        tensors = self._blueprint.tensors
        chosen: Iterable[int] = range(len(tensors)) if self._learning else self._signs
        self._before = []
        for index in chosen:
            gradient = local_gradient(tensors[index])
            version = 0 if gradient is None else gradient._version  # noqa: SLF001 - the public way to see a write
            self._before.append((index, gradient, version))

    def changed(self) -> bool:
        """Return whether the gradients marked were written since."""
        tensors = self._blueprint.tensors
        before, self._before = self._before, []
        hits = []
        for index, gradient, version in before:
            now = local_gradient(tensors[index])
            if now is not None and (now is not gradient or now._version != version):  # noqa: SLF001 - as above
                hits.append(index)
                if not self._learning:
                    break
        if not hits:
            # Ours by another way, or somebody else's.
            self.missed()
            return False
        if self._learning:
            self._learning -= 1
            if not set(hits) & set(self._signs):
                # Two, because parameters may be frozen or replaced.
                self._signs += [hits[0], hits[-1]]
        return True

    def signs(self) -> list[Tensor]:
        """Return the parameters that tell whether a backward pass came here; empty where that is not known yet."""
        return [] if self._learning else [self._blueprint.tensors[index] for index in self._signs]

    def missed(self) -> None:
        """A backward pass did not come to any of these: the next one is watched everywhere."""
        self._learning = max(self._learning, 1)

    # -- did anybody write to them after it? ----------------------------------------------------

    def leave(self) -> None:
        """A backward pass ended: remember its gradients, without keeping any alive."""
        tensors = self._blueprint.tensors
        held = ((i, g) for i, p in enumerate(tensors) if (g := local_gradient(p)) is not None)
        self._left = [(i, weakref.ref(g), g._version) for i, g in held]  # noqa: SLF001 - as above

    def rewritten(self) -> bool:
        """Return whether a gradient was written or replaced since the backward pass left it."""
        left, self._left = self._left, []
        for index, before, version in left:
            now = local_gradient(self._blueprint.tensors[index])
            if now is not None and (now is not before() or now._version != version):  # noqa: SLF001 - as above
                return True
        return False

    # -- norms ----------------------------------------------------------------------------------

    def everyone(self) -> tuple[list[int], list[Tensor]]:
        """Return the indices of all parameters that hold a gradient, and the norms of these."""
        return self.of(range(len(self._blueprint.tensors)))

    def of(self, chosen: Iterable[int]) -> tuple[list[int], list[Tensor]]:
        """Return those of the chosen parameters that hold a gradient, and its norms."""
        indices, gradients = [], []
        for index in chosen:
            gradient = local_gradient(self._blueprint.tensors[index])
            if gradient is not None and gradient.numel():
                values = gradient.detach() if gradient.requires_grad else gradient
                indices.append(index)
                gradients.append(values.coalesce().values() if values.is_sparse else values)
        return indices, norms(gradients)

    def keepable(self, probe: int, *, far: bool) -> int:
        """Return the entries of a parameter, -1 for none, if its gradient may be kept for a while, 0 if not."""
        size = self._blueprint.tensors[probe].numel() if probe >= 0 else 0
        return size if size <= (KEPT_FAR if far else KEPT_ENTRIES) else 0

    def sentinels(self, probe: int) -> list[int]:
        """Return one parameter of every layer, the smallest, and the probe.

        What is not finite in the gradient of a layer's output is in those of all its parameters.

        Parameters
        ----------
        probe
            Index of a parameter whose norm is wanted in any case.
        """
        smallest: dict[int, tuple[int, int]] = {}
        tensors = self._blueprint.tensors
        # Those of the step before, if they are there: of a part out of use nothing is expected.
        any_held = any(parameter.grad is not None for parameter in tensors)
        for index, parameter in enumerate(tensors):
            size = parameter.numel()
            used = parameter.grad is not None if any_held else parameter.requires_grad
            if used and 0 < size <= PROBE_ENTRIES:
                layer = self._blueprint.params[index].layer
                smallest[layer] = min(smallest.get(layer, (size, index)), (size, index))
        chosen = sorted({probe, *(index for _, index in smallest.values())})
        # Norms of parts on several devices do not stack as they are.
        return chosen if len({tensors[index].device for index in chosen}) == 1 else []

    def probe(self, place: Mapping[int, int]) -> tuple[int, float]:
        """Return one parameter near the input and the norm of its gradient; index -1 if none holds one.

        Parameters
        ----------
        place
            Layer to its place in the order of execution.
        """
        gradient = self._probe_gradient(place)
        if gradient is None:
            return -1, 0.0
        if gradient.dtype == torch.float32 and not gradient.requires_grad:
            # The cheapest way to a norm: nothing to wrap.
            return self._probe, torch.linalg.vector_norm(gradient).item()
        return self._probe, norms([gradient.detach()])[0].item()

    def probe_of(self, place: Mapping[int, int]) -> int:
        """Return the index of the parameter that is probed, -1 if none holds a gradient.

        Parameters
        ----------
        place
            As for ``probe``.
        """
        self._probe_gradient(place)
        return self._probe

    def _probe_gradient(self, place: Mapping[int, int]) -> Tensor | None:
        gradient = (
            local_gradient(self._blueprint.tensors[self._probe]) if self._probe >= 0 else None
        )
        return self._choose(place) if gradient is None or gradient.is_sparse else gradient

    def probed(self, place: Mapping[int, int]) -> tuple[int, Tensor | None]:
        """Return the parameter that is probed, by index and itself; None if no parameter holds a gradient."""
        if self._probe < 0 and self._choose(place) is None:
            return -1, None
        return self._probe, self._blueprint.tensors[self._probe]

    def is_left(
        self,
        place: Mapping[int, int],
        chosen: Sequence[int],
        sizes: Tensor | NDArray[np.float32] | Sequence[float],
    ) -> bool:
        """Return whether the gradient of the probe is what it was when the norms of some were taken.

        Parameters
        ----------
        place
            As for ``probe``.
        chosen, sizes
            Parameters and the norms of their gradients.
        """
        index, probe = self.probed(place)
        gradient = None if probe is None else probe.grad
        if gradient is None or index not in chosen:
            return False
        return float(sizes[chosen.index(index)]) == norms([gradient.detach()])[0].item()

    def _choose(self, place: Mapping[int, int]) -> Tensor | None:
        """Choose the parameter to probe and return its gradient, None if no parameter holds one."""
        drawn, tensors = self._blueprint, self._blueprint.tensors
        held = [
            (p.numel() > PROBE_ENTRIES, place.get(drawn.params[i].layer, len(place)), i)
            for i, (p, n) in enumerate(zip(tensors, drawn.axes(range(len(tensors))), strict=True))
            if p.grad is not None and not p.grad.is_sparse and n >= 2 and local(p).numel()
        ]
        self._probe = min(held)[2] if held else -1
        return local_gradient(self._blueprint.tensors[self._probe]) if held else None

    def similarities(self, step: int) -> list[Rows]:
        """Return how alike the units of every weight and of its gradient are, at a few early steps."""
        if step not in SIMILARITY_STEPS:
            return []
        return [
            row
            for index, parameter in enumerate(self._blueprint.tensors)
            if (kind := self._blueprint.params[index].kind) in {"matrix", "embedding"}
            for row in similarity(index, parameter, table=kind == "embedding")
        ]


def together(found: Sequence[Tensor]) -> Tensor | float:
    """Return the norm of the whole from the norms of its parts; a plain number where reading is free."""
    if not found:
        return 0.0
    if found[0].is_cuda:
        return torch.linalg.vector_norm(stack_together(found))
    return math.hypot(*(part.item() for part in found))
