"""Where the first non-finite value was born: a walk over the autograd graph, only when it happened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neuraldbg.capture.shards import local, piece_of

__all__ = ["Birth", "find_birth", "is_readable", "leads_to", "nodes_of"]

# A larger graph is not walked to its end: the answer would come minutes later.
MAX_NODES = 20_000
# Autograd nodes that only look at their input in another way, and how many of them are passed.
VIEWS = {
    "view",
    "squeeze",
    "unsqueeze",
    "reshape",
    "slice",
    "select",
    "transpose",
    "permute",
    "t",
    "tocopy",
    "clone",
}
MOST_VIEWS = 6
# A weight that is spread over a batch is still that weight.
PASSED = {*VIEWS, "expand"}
# Of finite numbers they make finite ones or infinities, and they keep neither their inputs nor their result.
ARITHMETIC = {"Add", "Sub", "Rsub", "Mul"}
SINGULAR = {"Log", "Log2", "Log10", "Log1P", "Div", "Pow", "Acos", "Asin", "Atanh", "Acosh"}
# What an operation keeps of its input, and for which values of that it has no finite result.
SINGULAR_INPUTS = {
    "Log": ("_saved_self", torch.le, 0.0),
    "Log2": ("_saved_self", torch.le, 0.0),
    "Log10": ("_saved_self", torch.le, 0.0),
    "Log1P": ("_saved_self", torch.le, -1.0),
    "Div": ("_saved_other", torch.eq, 0.0),
}
# Products of two matrices, the first of which mixes the rows of the second.
MIXES = {"Mm", "Bmm"}
MAPS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Convolution")


class Birth(NamedTuple):
    """The operation that made the first non-finite value.

    Attributes
    ----------
    op
        Name of its autograd node, for example ``"LogBackward0"``; empty where it was outside of the graph.
    params
        ``id`` of the parameters that feed it, nearest first.
    target
        Whether a tensor that needs no gradient (a target, a mask) was non-finite already, and met the model's
        output: one that the model itself made, or took, on the way to its output is none, nor are
        weights of a loss that the loop itself divided by zero.
    entrance
        Whether such a tensor met nothing but parameters: it was on its way into the first layer.
    rows
        Share of the batch rows that are non-finite; None if unknown.
    half
        Whether the value was a float16, whose range ends at 65504.
    """

    op: str
    params: tuple[int, ...]
    target: bool
    entrance: bool
    rows: float | None
    half: bool


@torch.no_grad()
def find_birth(loss: Tensor) -> Birth | None:
    """Return the earliest operation of the graph of ``loss`` with a non-finite value.

    Every node's saved tensors are looked at in topological order, inputs of the model first. A node
    whose saved *input* is bad names the node that made it; a node whose saved *result* is bad is the
    birth itself.

    Returns
    -------
    Birth or None
        None if no saved tensor shows where it happened.
    """
    order = _topological(loss.grad_fn)
    for node in order:
        for name in dir(node):
            if not name.startswith("_saved_"):
                continue
            bad = _bad(node, name)
            if bad is None:
                continue
            culprit = _earlier(_producer(node, name, bad))
            outside = culprit is None or _met_data(culprit, bad)
            made = _is_inside(node, name, order) or _is_weight(culprit or node, bad)
            target = "target" in name or (outside and not made)
            return Birth(
                # What was made outside of the graph left no trace of how.
                op="" if outside and not target else (culprit or node).name(),
                params=params_near(culprit or node),
                target=target,
                entrance="target" not in name and _is_entrance(node),
                rows=_rows(bad),
                half=bad.dtype == torch.float16 or _adds_half(culprit, bad),
            )
    # No saved tensor is bad. A logarithm of zero is minus infinity, which masks hold as well: it shows by its input.
    origin = next((node for node in order if _is_at_singular_point(node)), loss.grad_fn)
    return (
        None
        if origin is None
        else Birth(
            op=origin.name(),
            params=params_near(origin),
            target=False,
            entrance=False,
            rows=None,
            half=False,
        )
    )


def _is_at_singular_point(node: torch.autograd.graph.Node) -> bool:
    """Return whether an operation kept an input for which it has no finite value."""
    known = SINGULAR_INPUTS.get(_kind(node))
    if known is None:
        return False
    name, is_singular, point = known
    value = _kept(node, name)
    return value is not None and bool(is_singular(value, point).any().item())


def _topological(
    root: torch.autograd.graph.Node | None,
) -> list[torch.autograd.graph.Node]:
    """Return the nodes of a graph, those nearest the model's input first."""
    if root is None:
        return []
    order: list[torch.autograd.graph.Node] = []
    seen = {root}
    stack = [(root, iter(root.next_functions))]
    while stack:
        node, children = stack[-1]
        child = next((n for n, _ in children if n is not None and n not in seen), None)
        if child is None:
            order.append(node)
            stack.pop()
        elif len(seen) < MAX_NODES:
            seen.add(child)
            stack.append((child, iter(child.next_functions)))
    return order


def _kept(node: torch.autograd.graph.Node, name: str) -> Tensor | None:
    """Return the numbers that a node saved under a name; None if there are none to read."""
    try:
        value = getattr(node, name, None)
    except RuntimeError:
        # Freed, or changed in place since: it cannot testify.
        return None
    return value if isinstance(value, Tensor) and is_readable(value) else None


def _bad(node: torch.autograd.graph.Node, name: str) -> Tensor | None:
    value = _kept(node, name)
    if value is not None:
        # Masks filled with minus infinity are ordinary; NaN and plus infinity are not.
        clean = torch.isfinite(value) | (value == -torch.inf)
        if not bool(clean.all().item()) or (name == "_saved_result" and _all_bad(value)):
            return value
    return None


def is_readable(value: Tensor) -> bool:
    """Return whether a saved tensor holds numbers: a sharded weight is given back after its forward pass."""
    plain = value.is_floating_point() and value.layout == torch.strided and value.numel() > 0
    # Its memory is gone and its shape is not: to read it would kill the process.
    return plain and local(value) is value and value.untyped_storage().nbytes() > 0


def _all_bad(value: Tensor) -> bool:
    return not bool(torch.isfinite(value).any().item())


def _producer(
    node: torch.autograd.graph.Node, name: str, bad: Tensor
) -> torch.autograd.graph.Node | None:
    """Return the node whose result the bad tensor is; None if the tensor came from outside the graph."""
    if name in {"_saved_result", "_saved_output", "_saved_out"}:
        return node
    if bad.grad_fn is not None:
        return bad.grad_fn
    # A saved input without history is data; a saved input that needs a gradient is a parameter.
    return node if bad.requires_grad else None


def _kind(node: torch.autograd.graph.Node) -> str:
    return node.name().partition("Backward")[0]


def _earlier(node: torch.autograd.graph.Node | None) -> torch.autograd.graph.Node | None:
    """Return the operation with a singular point that feeds arithmetic, which keeps nothing that would show it."""
    current = node
    for _ in range(MOST_VIEWS):
        if current is None or _kind(current) not in ARITHMETIC:
            return node
        above = [n for n, _ in current.next_functions if n is not None]
        singular = next((n for n in above if _kind(n) in SINGULAR), None)
        if singular is not None:
            return singular
        current = above[0] if len(above) == 1 else None
    return node


def _met_data(node: torch.autograd.graph.Node, bad: Tensor) -> bool:
    """Return whether arithmetic made a NaN with a number from outside the graph: finite ones cannot make any."""
    outside = any(n is None for n, _ in node.next_functions)
    return outside and _kind(node) in ARITHMETIC and bool(torch.isnan(bad).any().item())


def _adds_half(node: torch.autograd.graph.Node | None, bad: Tensor) -> bool:
    """Return whether arithmetic took an infinite number over from a float16, which it added to a wider one."""
    if node is None or _kind(node) not in ARITHMETIC or not bool(torch.isinf(bad).any().item()):
        return False
    return any(
        n._input_metadata[i].dtype == torch.float16  # noqa: SLF001 - what a node gave is in no other place
        for n, i in node.next_functions
        if n is not None and len(n._input_metadata) > i  # noqa: SLF001 - as above
    )


def _is_weight(node: torch.autograd.graph.Node, bad: Tensor) -> bool:
    """Return whether a node multiplies by numbers none of which is left: weights that the loop worked out itself.

    A bad sample spoils a few of them; a division by a deviation of zero, or by that of a single value, spoils all.
    """
    return _kind(node) == "Mul" and bool(torch.isnan(bad).all().item())


def _is_inside(
    node: torch.autograd.graph.Node, name: str, order: Sequence[torch.autograd.graph.Node]
) -> bool:
    """Return whether a node that kept a tensor from outside under a name is part of the model.

    It is if a parameter is used after it, or if the tensor is the matrix that mixes its rows, as the neighbours
    in a graph: a target meets a prediction in arithmetic or in a loss function, and after that no weight is used.
    """
    if _kind(node) in MIXES and name == "_saved_self":
        return not _is_entrance(node)
    after = {node}
    for later in order[order.index(node) + 1 :]:
        above = [n for n, _ in later.next_functions if n is not None]
        if after.isdisjoint(above):
            continue
        after.add(later)
        if _kind(later).startswith(MAPS) and any(
            hasattr(_past_views(n), "variable") for n in above if n not in after
        ):
            return True
    return False


def _is_entrance(node: torch.autograd.graph.Node) -> bool:
    """Return whether parameters are all that a node got with a history: it is the first that data meets."""
    sources = [_past_views(n) for n, _ in node.next_functions if n is not None]
    return all(hasattr(source, "variable") for source in sources)


def _past_views(node: torch.autograd.graph.Node) -> torch.autograd.graph.Node:
    """Return the first node above that does more than look at its input in another way."""
    for _ in range(MOST_VIEWS):
        above = [n for n, _ in node.next_functions if n is not None]
        name = _kind(node).lower().removeprefix("unsafe")
        if len(above) != 1 or name not in PASSED:
            return node
        node = above[0]
    return node


def nodes_of(
    roots: Iterable[torch.autograd.graph.Node | None],
) -> Iterator[torch.autograd.graph.Node]:
    """Yield the nodes of a graph, each once; one that is too large is not walked to its end."""
    stack = [node for node in roots if node is not None]
    seen = set(stack)
    while stack and len(seen) < MAX_NODES:
        node = stack.pop()
        yield node
        fresh = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= fresh
        stack += fresh


def params_near(node: torch.autograd.graph.Node) -> tuple[int, ...]:
    """Return ids of the parameters upstream of a node, nearest first (breadth first)."""
    found: list[int] = []
    node = _branch(node)
    seen, queue = {node}, [node]
    while queue and len(found) < 4 and len(seen) < MAX_NODES:
        current = queue.pop(0)
        variable = getattr(current, "variable", None)
        if isinstance(variable, Tensor):
            found.append(id(variable))
        for child, place in current.next_functions:
            if child is None or child in seen:
                continue
            piece = piece_of(child, place)
            if piece is not None:
                found.append(piece)
                continue
            seen.add(child)
            queue.append(child)
    return tuple(found)


def leads_to(node: torch.autograd.graph.Node | None, params: Collection[int]) -> bool:
    """Return whether some of these parameters, by ``id()``, are among those that are upstream of a node and nearest to it."""
    return node is not None and any(p in params for p in params_near(node))


def _branch(node: torch.autograd.graph.Node) -> torch.autograd.graph.Node:
    """Return, for a sum of a residual path and a linear map, the map: a sum alone hardly overflows."""
    if not node.name().startswith("AddBackward"):
        return node
    above = [_past_views(n) for n, _ in node.next_functions if n is not None]
    maps = [n for n in above if n.name().startswith(MAPS)]
    return maps[0] if len(maps) == 1 else node


def _rows(bad: Tensor) -> float | None:
    if bad.dim() < 2:
        return None
    rows = ~torch.isfinite(bad.reshape(bad.shape[0], -1)).all(dim=1)
    return float(rows.float().mean().item())
