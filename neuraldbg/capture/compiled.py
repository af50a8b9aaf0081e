"""Parts of a model that PyTorch compiled: where they are, and how their calls are seen from outside.

Inside a compiled part no hook of ours may run: one that is there when the part is compiled becomes part of its
graph or breaks it, one that comes later is never called. So a part is looked at from outside, and what happened
in it is worked out afterwards (``replay``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

__all__ = [
    "Region",
    "Regions",
    "anything_compiled",
    "is_compiled_node",
    "is_hidden",
    "is_optimized",
    "is_private",
    "is_transformed",
    "original",
]

transform = torch._C._functorch.peek_interpreter_stack  # noqa: SLF001 - there is no public way to ask
trace_under_way = torch._C._get_tracing_state  # noqa: SLF001 - as above
COMPILED_NODE = "CompiledFunction"
WRAPPED = "_orig_mod"
IN_PLACE = "_compiled_call_impl"


class Listener(Protocol):
    """Is told of every call of a compiled part, and of its return where it looks closely."""

    looks_closely: bool

    def region_begins(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A compiled module is about to be called."""

    def region_ends(self, module: nn.Module, result: Any) -> None:
        """It has returned."""


def is_optimized(module: object) -> bool:
    """Return whether a module is the wrapper that ``torch.compile`` puts around another."""
    # By name: the class is in a part of PyTorch that takes a second to load.
    return type(module).__name__ == "OptimizedModule"


def original(module: nn.Module) -> nn.Module:
    """Return the module that a wrapper of ``torch.compile`` stands for; any other as it is."""
    inner = module._modules.get(WRAPPED) if is_optimized(module) else None  # noqa: SLF001 - the wrapper forwards every public name
    return module if inner is None else inner


def is_compiled_node(node: torch.autograd.graph.Node) -> bool:
    """Return whether a node of a graph is the whole of a compiled part."""
    return node.name().startswith(COMPILED_NODE)


def anything_compiled() -> bool:
    """Return whether anything in this process was given to ``torch.compile``."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(frames, "cached_backends", {})
    return any(backend is not None for backend in backends.values())


def is_hidden() -> bool:
    """Return whether this runs inside something compiled, or is being compiled right now."""
    # The first is a constant for the compiler: what follows is then never looked at.
    return (
        torch.compiler.is_compiling()
        or torch._C._dynamo.eval_frame.get_eval_frame_callback() is not None  # noqa: SLF001 - there is no public way to ask
        # As in `is_transformed`, without a call at every hook.
        or transform() is not None
        or trace_under_way() is not None
    )


def is_transformed() -> bool:
    """Return whether this runs inside a transform of ``torch.func``, or is being traced.

    Tensors there stand for others, many at a time, and what is done to them is recorded or differentiated.
    """
    return transform() is not None or trace_under_way() is not None


def is_private() -> bool:
    """Return whether a backward pass is not the loop's own: within another, of the compiler, or of a transform."""
    return (
        torch._C._current_graph_task_id() != -1  # noqa: SLF001 - there is no public way to ask
        # The compiler works out a graph with tensors that hold no numbers. This is what
        # `TracingContext.try_get` returns, without two calls at every backward pass.
        or getattr(torch._guards._TLS, "tracing_context", None) is not None  # noqa: SLF001 - as above
        or transform() is not None
        or trace_under_way() is not None
    )


@dataclass(slots=True, eq=False)
class Region:
    """One compiled part.

    Attributes
    ----------
    module
        What was compiled.
    is_called
        Whether it was called since it was found.
    is_entry
        Whether the loop calls it itself.
    outputs
        For each of its outputs where it came from; empty before it was replayed.
    broken
        Why it cannot be replayed; empty if it can.
    """

    module: nn.Module
    is_called: bool = False
    is_entry: bool = False
    outputs: list[Any] = field(default_factory=list)
    broken: str = ""


class Regions:
    """The outermost compiled parts of one model.

    Parameters
    ----------
    listener
        Told of calls of parts that were compiled in place; of others PyTorch's wrapper tells.
    """

    def __init__(self, listener: Listener) -> None:
        self.known: dict[int, Region] = {}
        self._listener = listener
        self._inside: set[int] = set()
        self._patched: list[tuple[nn.Module, Any, Any]] = []

    def find(self, model: nn.Module) -> None:
        """Look for parts that were compiled since the last look."""
        for module in _outermost(model):
            self.add(module)

    def add(self, module: nn.Module) -> Region:
        """Return the part that a module is, new if it was not known; calls of it are seen from now on."""
        if id(module) not in self.known:
            self.known[id(module)] = Region(module)
            self._inside |= {id(m) for m in module.modules()}
        self._patch(module)
        return self.known[id(module)]

    def outside(self, model: nn.Module) -> list[nn.Module]:
        """Return the modules that hooks may be put on."""
        return [m for m in model.modules() if id(m) not in self._inside and not is_optimized(m)]

    def covers(self, module: nn.Module) -> bool:
        """Return whether a module is, or lies in, a compiled part."""
        return id(module) in self._inside or is_optimized(module)

    def is_nested(self, module: nn.Module) -> bool:
        """Return whether a module lies in a compiled part without being one."""
        return id(module) in self._inside and id(module) not in self.known

    def drop_uncalled(self) -> None:
        """Forget parts that nobody calls: the loop calls what is in them, and that is not compiled."""
        self.known = {key: region for key, region in self.known.items() if region.is_called}
        self._inside = {id(m) for region in self.known.values() for m in region.module.modules()}

    def _patch(self, module: nn.Module) -> None:
        found = module.__dict__.get(IN_PLACE)
        if found is not None and not any(found is ours for *_, ours in self._patched):
            ours = _over_call(self._listener, module, found)
            module.__dict__[IN_PLACE] = ours
            self._patched.append((module, found, ours))

    def restore(self) -> None:
        """Put back what was patched; where somebody patched on top of us, theirs stays."""
        while self._patched:
            module, found, ours = self._patched.pop()
            if module.__dict__.get(IN_PLACE) is ours:
                module.__dict__[IN_PLACE] = found

    def release(self) -> None:
        """Let go of the model."""
        self.known.clear()
        self._inside.clear()


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    if is_optimized(module) or module.__dict__.get(IN_PLACE) is not None:
        yield original(module)
        return
    for child in module.children():
        yield from _outermost(child)


def _over_call(
    listener: Listener, module: nn.Module, compiled: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_hidden():
            return compiled(*args, **kwargs)
        listener.region_begins(module, args, kwargs)
        result = compiled(*args, **kwargs)
        if listener.looks_closely:
            listener.region_ends(module, result)
        return result

    return call
