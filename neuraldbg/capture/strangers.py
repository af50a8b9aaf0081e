"""Parameters that nobody steps: layers kept in a plain list or dict, and weights put into the model in mid-run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.shards import is_row
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import Fact

__all__ = ["Latecomers", "Strangers"]

# A larger graph is not walked to its end; nothing is said of it then.
MAX_NODES = 20_000
EDGE_STEPS = 2
# So many close looks may pass until an optimizer is handed what was put into the model; several take turns.
PATIENCE = 2


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
            if isinstance(leaf, nn.Parameter) and not self._is_known(leaf):
                self._found.add(id(leaf))
            for child, _ in node.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)

    def _is_known(self, leaf: nn.Parameter) -> bool:
        return is_row(leaf) or self._blueprint.layer_with(id(leaf)) is not None

    def facts(self, stepped: Collection[int], others: Collection[int]) -> dict[str, Fact]:
        """Return how many of them no optimizer steps, and how many an optimizer of another model does.

        Nothing if a graph was too large to be walked to its end.
        """
        if self._found is None:
            return {}
        rivals = len(self._found.intersection(others))
        return {"strangers": len(self._found.difference(stepped)), "rivals": rivals}


class Latecomers:
    """Finds weights that were put into the model in mid-run, a grown vocabulary for example, and that no optimizer steps.

    Parameters
    ----------
    blueprint
        Knows the parameters of the model.
    incidents
        Where such a layer is noted, as ``unheard``.
    redraw
        Draws the blueprint anew.
    """

    def __init__(
        self, blueprint: Blueprint, incidents: Incidents, redraw: Callable[[], None]
    ) -> None:
        self._blueprint = blueprint
        self._incidents = incidents
        self._redraw = redraw
        # ``id`` of a parameter to the step of its first sight and the looks since then.
        self._waiting: dict[int, tuple[int, int]] = {}

    def look(self, step: int, model: nn.Module | None, stepped: Collection[int]) -> None:
        """Look at what the model holds, in the backward pass of a sampled step; optimizers must have stepped."""
        if model is None or not stepped:
            return
        known, before = self._blueprint.layer_with, self._waiting
        new = [
            id(p)
            for p in model.parameters()
            if known(id(p)) is None and id(p) not in stepped and p.requires_grad
        ]
        counted = [(key, *before.get(key, (step, -1))) for key in new]
        self._waiting = {key: (at, looks + 1) for key, at, looks in counted}
        late = [(key, at) for key, (at, n) in self._waiting.items() if n >= PATIENCE]
        if late:
            self._redraw()
        for key, at in late:
            if (layer := known(key)) is not None:
                self._incidents.note(at, "unheard", layer, {})
