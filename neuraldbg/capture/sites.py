"""Where in the user's program an operation with a singular point stands: the module whose ``forward`` calls it.

A graph says which parameters feed an operation, and not who called it: a root in a pooling module without
parameters is fed by the convolution before it. In a traced step the stack says so.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.provenance import leads_to
from neuraldbg.capture.shards import unwrapped
from neuraldbg.capture.topology import Blueprint, leading_out
from neuraldbg.records.names import holds

__all__ = ["FINITE_VALUES", "SINGULAR", "Sites", "may_be_singular"]

QUOTIENTS = frozenset(
    {"div", "__truediv__", "__rtruediv__", "__itruediv__", "div_", "true_divide", "divide"}
)
POWERS = frozenset({"pow", "__pow__", "pow_", "float_power"})
ALWAYS = frozenset(
    {"log", "log2", "log10", "log1p", "logit", "xlogy", "sqrt", "rsqrt", "reciprocal", "norm"}
    | {"vector_norm", "linalg_norm", "linalg_vector_norm", "cdist", "pairwise_distance"}
    | {"cosine_similarity", "normalize", "std", "acos", "asin", "acosh", "atanh", "atan2"}
    # Of a row in which every entry is minus infinity.
    | {"softmax", "log_softmax"}
)
SINGULAR = ALWAYS | QUOTIENTS | POWERS
# Autograd nodes whose value is finite where their derivative is not.
FINITE_VALUES = frozenset(
    {"sqrt", "pow", "norm", "linalgvectornorm", "cdist", "std", "acos", "asin", "atan2"}
)
# So many callers are asked: helpers and wrappers stand between an operation and the module.
DEPTH = 32


def may_be_singular(name: str, args: Sequence[Any]) -> bool:
    """Return whether a call may meet a point where its value or derivative is infinite.

    Parameters
    ----------
    name
        Of the function, one of ``SINGULAR``.
    args
        Positional arguments; a quotient by a number and a power of one or more have no such point.
    """
    if name in ALWAYS:
        return True
    second = args[1] if len(args) > 1 else None
    if name in QUOTIENTS:
        return name == "__rtruediv__" or isinstance(second, Tensor)
    return not (isinstance(second, (int, float)) and second >= 1)


class Sites:
    """Modules by what their ``forward`` calls.

    Parameters
    ----------
    model
        Its modules are known by the code of their ``forward``, which several of one class share.
    blueprint
        Its layers.
    edges
        Dataflow between these, ``(source, target)``; found while the model runs.
    """

    def __init__(
        self, model: nn.Module, blueprint: Blueprint, edges: Iterable[tuple[int, int]]
    ) -> None:
        self._blueprint, self._edges = blueprint, edges
        self._named: dict[CodeType, list[str]] = {}
        # Kind of operation to the code that calls it, None for what is outside of every module.
        self._callers: dict[str, set[CodeType | None]] = {}
        # Code that calls one on data, and on data whose gradient is asked for, to what it calls.
        self._on_data: tuple[dict[CodeType, str], dict[CodeType, str]] = {}, {}
        plain = unwrapped(model)
        for name, module in model.named_modules():
            # Of a scripted module the class has none.
            code = getattr(getattr(type(module), "forward", None), "__code__", None)
            if code is not None:
                self._named.setdefault(code, []).append(plain(name))

    def caller(self, layer: int) -> str:
        """Return the dotted name of the innermost module on the stack that holds a layer, empty if none does."""
        near = self._blueprint.layers[layer].name
        for code in _stack():
            if held := [n for n in self._named.get(code, ()) if holds(n, near)]:
                return max(held, key=len)
        return ""

    def see(self, name: str, result: object) -> None:
        """Note who has just called an operation with this name and result."""
        if not isinstance(result, Tensor) or not torch.is_grad_enabled():
            return
        code = next((code for code in _stack() if code in self._named), None)
        node = result.grad_fn
        if node is not None:
            self._callers.setdefault(_kind(node.name()), set()).add(code)
        if code is not None and (node is None or self._is_of_data(node)):
            self._on_data[node is not None][code] = name

    def _is_of_data(self, node: torch.autograd.graph.Node) -> bool:
        """Return whether no parameter is upstream of a node."""
        return not leads_to(node, self._blueprint.param_of)

    def site_of(self, ops: Collection[str], layer: int) -> dict[str, str]:
        """Return the dotted name of the module that called an operation, where that is certain.

        Parameters
        ----------
        ops
            Names of autograd nodes; it was one of these, or one on data where there are none. Where none of them
            has a singular point, it may be the derivative of one by data: their gradient is a force.
        layer
            The nearest layer that feeds it, or that it feeds, if it is on data.

        Returns
        -------
        dict
            ``module``, and ``op`` where it was on data; empty where nothing is certain.
        """
        if layer < 0:
            return {}
        codes = set[CodeType | None]().union(*(self._callers.get(_kind(op), ()) for op in ops))
        near = self._blueprint.layers[layer].name
        names = [n for code in codes for n in (self._named[code] if code is not None else [""])]
        # Of one class the module that holds the layer may have called it, and the one after it: the former is told.
        found = {n: {"module": n} for n in names if not n or holds(n, near)}
        found = found or {n: {"module": n} for n in names if self._is_next(n, layer)}
        if len(ops) > 1:
            # Of a gradient, that of what comes after the layer is finite: nothing with parameters is in between.
            found = found or {n: {"module": n} for n in names if self._is_behind(n, layer)}
        if len(ops) != 1 or _kind(next(iter(ops))) not in SINGULAR:
            found = found or self._before(layer, asked=bool(ops))
        # The model itself, or the loop, calls such an operation as well: it may have been that one.
        return next(iter(found.values())) if len(found) == 1 and "" not in found else {}

    def _before(self, layer: int, *, asked: bool) -> dict[str, dict[str, str]]:
        """Return the modules that called an operation on data on their way to a layer; ``asked`` if for their gradient."""
        layers = self._blueprint.layers
        # The layer, and all that feed it, directly or through others.
        near = {layer} | leading_out({*range(len(layers))} - {layer}, self._edges)
        return {
            name: {"module": name, "op": op}
            for code, op in self._on_data[asked].items()
            for name in self._named[code]
            if not name or any(holds(name, layers[i].name) for i in near)
        }

    def _is_next(self, module: str, layer: int) -> bool:
        """Return whether a module follows a layer: that feeds it, and nothing else in between does."""
        inside = self._inside(module)
        before = {s for s, t in self._edges if t in inside and s not in inside}
        after = {t for s, t in self._edges if s == layer}
        return layer in before and after.isdisjoint(before)

    def _is_behind(self, module: str, layer: int) -> bool:
        """Return whether a module takes what a layer gives, directly or through layers without parameters."""
        blueprint, inside = self._blueprint, self._inside(module)
        bare = {*range(len(blueprint.layers))} - {p.layer for p in blueprint.params} - inside
        onward = {layer, *bare}
        return layer in leading_out(onward, [e for e in self._edges if e[1] in onward | inside])

    def _inside(self, module: str) -> set[int]:
        return {i for i, x in enumerate(self._blueprint.layers) if holds(module, x.name)}


def _stack() -> Iterator[CodeType]:
    """Yield the code of those who called the caller, the innermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the public way reads source files
    for _ in range(DEPTH):
        if frame is None:
            break
        yield frame.f_code
        frame = frame.f_back


def _kind(node: str) -> str:
    return node.partition("Backward")[0].lower()
