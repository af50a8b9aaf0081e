"""Hooks that copies of a watched model do not carry on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from neuraldbg.capture.compiled import is_hidden

__all__ = ["InertHook"]


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
