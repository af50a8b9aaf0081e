"""Parameters that a loss depends on and the watched model does not know: layers kept in a plain list or dict."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import Fact

__all__ = ["Strangers"]

# A larger graph is not walked to its end; nothing is said of it then.
MAX_NODES = 20_000
EDGE_STEPS = 2


class Strangers:
    """Finds them in the graphs of the first steps.

    Parameters
    ----------
    blueprint
        Knows the parameters of the model, and what they are while a sharded layer runs.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._found: set[int] | None = set()

    def look(self, step: int, roots: Sequence[Tensor]) -> None:
        """Walk the graphs of what ``backward`` was called on, in the first steps; they must be whole."""
        if step >= EDGE_STEPS or self._found is None:
            return
        stack = [t.grad_fn for t in roots if t.grad_fn is not None]
        seen: set[torch.autograd.graph.Node] = set(stack)
        while stack:
            if len(seen) > MAX_NODES:
                self._found = None
                return
            node = stack.pop()
            leaf = getattr(node, "variable", None)
            if isinstance(leaf, nn.Parameter) and self._blueprint.layer_with(id(leaf)) is None:
                self._found.add(id(leaf))
            for child, _ in node.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)

    def facts(self, stepped: Collection[int]) -> dict[str, Fact]:
        """Return how many of them no optimizer steps; nothing if a graph was too large to be walked to its end."""
        return {} if self._found is None else {"strangers": len(self._found.difference(stepped))}
