"""Units that are dropped by a function or by a mask of the user's own, instead of by a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from neuraldbg.capture.labels import Known
from neuraldbg.capture.reduce import given
from neuraldbg.capture.shards import local

__all__ = ["DROPOUTS", "Dropping", "rate_of"]

DROPOUTS = frozenset(
    {"dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"}
    | {"alpha_dropout_", "feature_dropout", "feature_alpha_dropout"}
)
# Noise of which a mask is made.
BORN = frozenset({"rand", "rand_like", "bernoulli", "bernoulli_", "uniform_"})
FACTORS = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"})
# A mask of fewer entries says little of how many it drops.
ENOUGH = 64


def rate_of(args: Sequence[Any], kw: Mapping[str, Any]) -> float:
    """Return the share of units that a call of one of PyTorch's dropout functions drops, 0 where it rests."""
    named = given(("input", "p", "training"), args, kw)
    # Under ``nn.functional`` the flag has the first of these names, and under ``torch`` the second.
    works = named.get("training", named.get("train", True))
    return float(named.get("p", 0.5)) if works else 0.0


class Dropping:
    """Follows random numbers of a step to where they multiply what a layer gave, and reads how much is left there.

    A mask and what it leaves out that both multiply something mix two things and drop none.

    Attributes
    ----------
    born
        What random numbers of this step became.
    """

    def __init__(self) -> None:
        self.born = Known[int]()
        self._serial = count()
        self._found: dict[int, list[tuple[int, Tensor]]] = {}

    def wants(self, name: str) -> bool:
        """Return whether a call is of interest: a dropout, a draw, or any once something was drawn in this step."""
        return bool(self.born.found) or name in DROPOUTS or name in BORN

    def clear(self) -> None:
        """Forget every tensor of the step."""
        self.born.clear()
        self._found.clear()

    def follow(self, name: str, args: Sequence[Any], out: object) -> Tensor | None:
        """Take a call; return the mask that it multiplied something with a gradient by, None if it did no such thing.

        Parameters
        ----------
        name, args, out
            The function, what it was given, and what it gave.
        """
        if not isinstance(out, Tensor):
            return None
        if name in BORN:
            self.born.put(out, next(self._serial))
            return None
        tensors = [x for x in args if isinstance(x, Tensor)]
        sources = [self.born.of(x) for x in tensors]
        if not tensors or all(source is None for source in sources):
            return None
        if None not in sources:
            # Made of nothing but noise: noise, of the first one.
            self.born.put(out, sources[0] or 0)
        elif name in FACTORS and len(tensors) == 2 and out.requires_grad:
            return tensors[sources[1] is not None]
        return None

    def note(self, layer: int, mask: Tensor) -> None:
        """Take a mask that multiplied what a layer gave."""
        source = self.born.of(mask)
        if source is not None and mask.numel() >= ENOUGH:
            self._found.setdefault(source, []).append((layer, _kept(mask)))

    def finish(self) -> Iterator[tuple[int, Tensor]]:
        """Yield layers, and which share of their units is kept, NaN where the factor is no mask; each use once."""
        uses, self._found = self._found, {}
        for found in uses.values():
            yield from found if len(found) == 1 else _alike(found)


def _kept(mask: Tensor) -> Tensor:
    """Return the share of a mask that is not zero; NaN if it has more than one other value."""
    values = local(mask).detach()
    left = values != 0
    top = values.amax()
    is_mask = (~left | (values == top)).all() & (top > 0)
    return torch.where(is_mask, left.float().mean(), torch.nan)


def _alike(found: Sequence[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Return uses of one mask; where the others differ from the first it mixes, and is none."""
    first = found[0][1]
    for layer, kept in found:
        same = torch.stack([(other == first) for _, other in found]).all()
        yield layer, torch.where(same, kept, torch.nan)
