"""Where hooks may be put on a model of which something is, or may be, compiled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.compiled import (
    Listener,
    Region,
    Regions,
    anything_compiled,
    is_compiled_node,
)
from neuraldbg.capture.functionmode import ModeStack
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.provenance import nodes_of
from neuraldbg.capture.reduce import float_tensors
from neuraldbg.capture.replay import Replay

__all__ = ["Parts"]

# For so many sampled steps any module of the model that the loop calls itself is looked for.
EDGE_STEPS = 2


class Parts:
    """Puts hooks where no compiler meets them, and knows the parts that are seen from outside only.

    A function that was compiled may call the model or not: hooks wait until the graph of the first backward
    pass tells. They would be no part of its graph, but it would be compiled once more when they go.

    Parameters
    ----------
    model
        The watched model.
    listener
        Told of calls of compiled parts.
    watch
        Puts hooks on layers.
    modes
        Has the tracer on PyTorch's stack, where the compiler would see it.
    replay
        Runs calls of compiled parts again.

    Attributes
    ----------
    enter, leave
        Called with a module, or the ``id`` of one, whose own calls are to be watched, or no longer.
    found
        Called by a layer's hook when the loop calls a module that nobody watches yet.
    """

    enter: Callable[[nn.Module], None]
    leave: Callable[[int], None]
    found: Callable[[nn.Module, tuple[Any, ...]], None]

    def __init__(
        self,
        model: nn.Module,
        listener: Listener,
        watch: LayerWatch,
        modes: ModeStack,
        replay: Replay,
    ) -> None:
        self.regions = Regions(listener)
        self.replay = replay
        self.compiled = False
        self._model: nn.Module | None = model
        self._watch = watch
        self._modes = modes
        self._members: dict[int, nn.Module] = {}
        # Whether a backward pass must tell if a compiled function calls the model; None as long as nobody knows.
        self._waiting = False
        self._blind: bool | None = None
        self._edge = EDGE_STEPS
        self.refresh()

    @property
    def entries(self) -> set[int]:
        """``id`` of the modules that the loop calls itself."""
        return self._watch.entries

    # -- the parts ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take over what was added to the model."""
        if self._model is not None:
            self._members = {id(m): m for m in self._model.modules()}

    def owns(self, module: nn.Module) -> bool:
        """Return whether a module belongs to the model."""
        return id(module) in self._members

    def covers(self, module: nn.Module) -> bool:
        """Return whether a module must not be hooked."""
        return self._must_wait() or self.regions.covers(module)

    def known(self, module: nn.Module) -> Region | None:
        """Return the part that a module is, None if it is none."""
        return self.regions.known.get(id(module))

    def region(self, module: nn.Module) -> Region | None:
        """Return the part that a module is which is being called, None if it is not ours or lies in a part."""
        if not self.owns(module) or self.regions.is_nested(module):
            return None
        found = self.known(module)
        if found is None:
            # Compiled by a wrapper that is not in the model.
            found = self.regions.add(module)
            self.compiles()
        found.is_called = True
        return found

    def begins(self, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A part is called in a step in which it may be run again."""
        if torch.is_grad_enabled():
            # On PyTorch's stack it would make the compiler compile once more.
            self._modes.remove()
            self.replay.take(region, args, kwargs)

    def ends(self, region: Region, result: Any) -> None:
        """It has returned."""
        if torch.is_grad_enabled():
            self.replay.result(region, result)
            self._modes.push_again()

    def find(self) -> None:
        """Look for compiled parts; modules in them are hooked no longer."""
        if self._model is None:
            return
        self.regions.find(self._model)
        self.compiled = self.compiled or bool(self.regions.known)
        for key in [k for k in self._watch.entries if self.covers(self._members[k])]:
            self.leave(key)

    def release(self) -> None:
        """Let go of the model."""
        self.replay.begin()
        self.regions.release()
        self._members = {}
        self._model = None

    # -- hooks ----------------------------------------------------------------------------------

    def hook(self, *, late: bool = False) -> None:
        """Put hooks on layers: on each one for itself where anything is compiled, or none yet.

        Parameters
        ----------
        late
            Whether what was compiled before the loop has had its first call by now.
        """
        if late:
            self.regions.drop_uncalled()
        if self._model is None or self._must_wait():
            self._waiting = self._blind is None
            return
        self._watch.entry = self.found if self._edge > 0 else None
        self._edge -= 1
        single = self.regions.known or self._blind is not None
        self._watch.switch_on(self.regions.outside(self._model) if single else None)

    def compiles(self) -> None:
        """Something was compiled inside the loop: take away hooks that the compiler would meet."""
        on = self._watch.is_on
        self._watch.switch_off()
        self._blind = None
        self.find()
        if on:
            self.hook()

    def look(self, tensors: object, params: Collection[int]) -> None:
        """A backward pass begins: see whether a compiled function called the model."""
        if not self._waiting or self._model is None or not self._must_wait():
            return
        self._waiting = False
        self._blind = _reaches_compiled(list(float_tensors(tensors)), params)
        if self._blind:
            self.compiled = True
        else:
            self.enter(self._model)

    def _must_wait(self) -> bool:
        if self.regions.known or self._blind is False:
            return False
        return self._blind is True or anything_compiled()


def _reaches_compiled(tensors: Sequence[Tensor], params: Collection[int]) -> bool:
    """Return whether the graph of tensors has a compiled function that takes some of these parameters."""
    return any(
        is_compiled_node(node)
        and any(id(getattr(child, "variable", None)) in params for child, _ in node.next_functions)
        for node in nodes_of(t.grad_fn for t in tensors)
    )
