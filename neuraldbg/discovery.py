"""Find the models that a program trains, through the optimizers that own their parameters."""

from __future__ import annotations

import functools
import gc
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer

from neuraldbg.debugger import NeuralDbg
from neuraldbg.errors import NeuralDBGError

__all__ = ["Discovery", "roots"]


class Discovery:
    """Watches every model for which an optimizer is created inside this context.

    Parameters
    ----------
    save
        Recording of the first model; those of further ones get a number: ``run.2.ndbg``.
    stop_when
        As for ``NeuralDbg``.

    Attributes
    ----------
    watched
        One ``NeuralDbg`` a model, in the order of their optimizers.
    """

    def __init__(self, *, save: Path | None = None, stop_when: float | None = None) -> None:
        self.watched: list[NeuralDbg] = []
        self._save, self._stop_when = save, stop_when
        self._models: list[nn.Module] = []
        self._original = Optimizer.__init__

    def __enter__(self) -> Self:
        original, found = self._original, self

        @functools.wraps(original)
        def init(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            found.meet(optimizer)

        Optimizer.__init__ = init  # type: ignore[method-assign, assignment]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        Optimizer.__init__ = self._original  # type: ignore[method-assign]
        self.stop(error)

    def meet(self, optimizer: Optimizer) -> None:
        """Watch the models that own the parameters of a new optimizer."""
        wanted = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for model in self._models:
            wanted -= {id(p) for p in model.parameters()}
        for model in roots(wanted):
            try:
                dbg = NeuralDbg(model, save=self._path(), stop_when=self._stop_when).start()
            except NeuralDBGError:
                # The program watches it by itself.
                continue
            self._models.append(model)
            self.watched.append(dbg)

    def _path(self) -> Path | None:
        if self._save is None or not self.watched:
            return self._save
        return self._save.with_suffix(f".{len(self.watched) + 1}{self._save.suffix}")

    def stop(self, error: BaseException | None = None) -> None:
        """Stop watching, the last first; safe to call more than once."""
        for dbg in reversed(self.watched):
            dbg.stop(error)
        self._models = []


def roots(wanted: set[int]) -> list[nn.Module]:
    """Return the fewest modules that own these parameters and are no part of another such module.

    Parameters
    ----------
    wanted
        ``id`` of the parameters.
    """
    if not wanted:
        return []
    owned = {id(m): (m, {id(p) for p in m.parameters()} & wanted) for m in _modules()}
    candidates = {key: pair for key, pair in owned.items() if pair[1]}
    inner = {
        id(part)
        for module, _ in candidates.values()
        for part in module.modules()
        if part is not module
    }
    outer = [pair for key, pair in candidates.items() if key not in inner]
    chosen: list[nn.Module] = []
    left = set(wanted)
    # Of several that hold the same parameters the one with the fewest modules of its own is nearest.
    for module, owns in sorted(outer, key=lambda pair: (-len(pair[1]), _size(pair[0]))):
        if owns & left:
            chosen.append(module)
            left -= owns
    return chosen


def _size(module: nn.Module) -> int:
    return sum(1 for _ in module.modules())


def _modules() -> list[nn.Module]:
    # The type and not isinstance: a weak proxy whose object died raises when it is asked for its class.
    return [o for o in gc.get_objects() if issubclass(type(o), nn.Module)]
