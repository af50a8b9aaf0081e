"""Parameters that a loss depends on and the watched model does not know: layers kept in a plain list or dict."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from neuraldbg.records.recording import Fact

__all__ = ["count", "strangers"]

# A larger graph is not walked to its end; nothing is said of it then.
MAX_NODES = 20_000


def strangers(
    roots: Sequence[Tensor], known: Collection[int], before: set[int] | None
) -> set[int] | None:
    """Return the ``id`` of the parameters upstream of ``roots`` that are not ``known``.

    Parameters
    ----------
    roots
        What ``backward`` was called on; their graphs must be whole.
    known
        ``id`` of the parameters of the model.
    before
        Those found earlier, which are added; None if a graph was too large, and then it stays so.

    Returns
    -------
    set of int or None
        None if a graph was too large to be walked to its end.
    """
    if before is None:
        return None
    found = set(before)
    stack = [t.grad_fn for t in roots if t.grad_fn is not None]
    seen: set[torch.autograd.graph.Node] = set(stack)
    while stack:
        if len(seen) > MAX_NODES:
            return None
        node = stack.pop()
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, nn.Parameter) and id(leaf) not in known:
            found.add(id(leaf))
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append(child)
    return found


def count(found: set[int] | None, stepped: Collection[int]) -> dict[str, Fact]:
    """Return how many of them no optimizer steps, as a fact; none if it is not known."""
    return {} if found is None else {"strangers": len(found.difference(stepped))}
