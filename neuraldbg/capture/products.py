"""Over how many terms a product adds up with a parameter: what a unit of it is fed, however its axes are laid out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["PRODUCTS", "summed"]

PRODUCTS = frozenset({"matmul", "__matmul__", "mm", "bmm", "einsum"})


def summed(
    name: str, args: Sequence[Any], kw: Mapping[str, Any]
) -> Iterator[tuple[nn.Parameter, int]]:
    """Yield the parameters among the factors of a product, each with the number of its entries that are added up.

    Parameters
    ----------
    name
        The function: one of ``PRODUCTS``.
    args, kw
        What it was called with.
    """
    if name == "einsum":
        yield from _by_equation(args)
        return
    factors = [*args[:2], *kw.values()][:2]
    if len(factors) < 2 or not all(isinstance(x, Tensor) and x.dim() for x in factors):
        return
    first, second = factors
    if isinstance(first, nn.Parameter) and first.dim() >= 2:
        yield first, first.shape[-1]
    if isinstance(second, nn.Parameter) and second.dim() >= 2:
        yield second, second.shape[-2]


def _by_equation(args: Sequence[Any]) -> Iterator[tuple[nn.Parameter, int]]:
    """Yield them by the letters of an equation that are not in its result."""
    if not args or not isinstance(args[0], str):
        # Sublists of numbers instead of letters: rare, and the same could be said of them.
        return
    given = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    inputs, arrow, result = args[0].replace(" ", "").partition("->")
    letters = inputs.replace(".", "").replace(",", "")
    kept = result if arrow else {x for x in letters if letters.count(x) == 1}
    for axes, factor in zip(inputs.split(","), given, strict=False):
        whole = isinstance(factor, nn.Parameter) and "." not in axes and len(axes) == factor.dim()
        if whole and factor.dim() >= 2:
            lengths = zip(axes, factor.shape, strict=True)
            yield factor, math.prod(n for letter, n in lengths if letter not in kept)
