"""What the graphs of the first steps tell of parameters: those that nobody steps, and tables that are multiplied by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from torch import Tensor, nn

from neuraldbg.capture.bank import Rows
from neuraldbg.capture.drawn import initial_gains
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.provenance import nodes_of
from neuraldbg.capture.shards import is_row
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import Fact

__all__ = ["Latecomers", "Strangers", "leaves"]

EDGE_STEPS = 2
# What a matrix goes into that is multiplied with: the product itself, or the view of it that is turned for one.
MULTIPLIED = (
    "TBackward",
    "TransposeBackward",
    "PermuteBackward",
    "MmBackward",
    "AddmmBackward",
    "LinearBackward",
)
# So many close looks may pass until an optimizer is handed what was put into the model; several take turns.
PATIENCE = 2


class Strangers:
    """Finds them in the graphs of the first steps, and tables that are multiplied there besides being looked up in.

    Parameters
    ----------
    blueprint
        Knows the parameters of the model, and what they are while a sharded layer runs.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._found: set[int] | None = set()
        # Tables that a linear layer has for its weight, or that were found to be used like that.
        self._tied = blueprint.multiplied()

    def look(self, step: int, roots: Sequence[Tensor]) -> tuple[Rows, ...]:
        """Walk the graphs of what ``backward`` was called on, in the first steps; they must be whole.

        Returns
        -------
        tuple of Rows
            The scale of tables that are multiplied by hand: before the first step they are as they were drawn.
        """
        if step >= EDGE_STEPS or self._found is None:
            return ()
        ends = leaves(roots)
        if ends is None:
            self._found = None
            return ()
        self._found |= {id(leaf) for leaf, _ in ends if not self._is_known(leaf)}
        if step > 0:
            return ()
        tied = self._multiplied(ends)
        self._tied |= tied.keys()
        return tuple(initial_gains([(i, p, p.shape[-1]) for i, p in tied.items()]))

    def _multiplied(self, ends: Sequence[tuple[nn.Parameter, str]]) -> dict[int, nn.Parameter]:
        """Return the tables that are the weight of a product, by index, without those that are known to be."""
        drawn = self._blueprint
        found = {
            drawn.param_of[id(leaf)]: leaf
            for leaf, operation in ends
            if id(leaf) in drawn.param_of and operation.startswith(MULTIPLIED)
        }
        return {
            i: p
            for i, p in found.items()
            if drawn.params[i].kind == "embedding" and i not in self._tied
        }

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


def leaves(roots: Sequence[Tensor]) -> list[tuple[nn.Parameter, str]] | None:
    """Return the parameters at the ends of graphs with what each went into; None if these are too large to be walked."""
    nodes = set(nodes_of(t.grad_fn for t in roots))
    links = [
        (node, child) for node in nodes for child, _ in node.next_functions if child is not None
    ]
    if any(child not in nodes for _, child in links):
        return None
    ends = [(getattr(child, "variable", None), node.name()) for node, child in links]
    return [(leaf, name) for leaf, name in ends if isinstance(leaf, nn.Parameter)]


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
