"""Hooks that copies of a watched model do not carry on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import nn

from neuraldbg.capture.compiled import is_hidden

__all__ = ["InertHook", "put_back", "state_without_ours", "take_off"]

# Where a module keeps its hooks, and what it notes of some of them.
HOOKS = ("_forward_pre_hooks", "_forward_hooks")
NOTES = (
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class InertHook:
    """A module hook whose deep copy or pickle does nothing, nor does it itself inside anything compiled.

    A copy of the user's model (EMA, best-so-far checkpoint) must neither call us nor need us to be
    installed where it is unpickled: it gets the exit method of a null context, which takes anything and
    does nothing.
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        """Call through; a compiler that looks at this finds nothing to do."""
        if not is_hidden():
            self._call(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return something that does nothing."""
        return nullcontext().__exit__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as something of the standard library that does nothing."""
        return getattr, (nullcontext(), "__exit__")


def state_without_ours(state: Any) -> Any:
    """Return what a module is copied or pickled by, without hooks of ours.

    Parameters
    ----------
    state
        Of the module: its attributes, or a pair of these and its slots.
    """
    if isinstance(state, tuple):
        return (state_without_ours(state[0]), *state[1:])
    ours = {key for name in HOOKS for key in _ours(state.get(name) or {})} if state else set()
    if not ours:
        return state
    kept = {name: state[name] for name in (*HOOKS, *NOTES) if name in state}
    return state | {
        name: OrderedDict((k, v) for k, v in hooks.items() if k not in ours)
        for name, hooks in kept.items()
    }


Taken = list[tuple[dict[int, Any], list[tuple[int, Any]]]]


def take_off(model: nn.Module) -> Taken:
    """Take hooks of ours off all parts of a model: a compiler of its source would read them, too.

    Returns
    -------
    list
        Tables of hooks and what was in them, for ``put_back``.
    """
    found = [
        (hooks, list(hooks.items()))
        for module in model.modules()
        for name in HOOKS
        if _ours(hooks := getattr(module, name, {}))
    ]
    for hooks, items in found:
        _fill(hooks, [(key, hook) for key, hook in items if not isinstance(hook, InertHook)])
    return found


def put_back(taken: Taken) -> None:
    """Put hooks back that were taken off."""
    for hooks, items in taken:
        _fill(hooks, items)


def _ours(hooks: dict[int, Any]) -> list[int]:
    return [key for key, hook in hooks.items() if isinstance(hook, InertHook)]


def _fill(hooks: dict[int, Any], items: list[tuple[int, Any]]) -> None:
    """Fill a table of hooks anew: handles of it stay as they are."""
    hooks.clear()
    hooks.update(items)
