"""neuraldbg 1.3.2 of the package index, which is not ours: its ``with`` block, ``record_loss`` and ``step``.

Its causal calls return nothing without an engine that is not published, so its raw dictionaries of first
failures are read instead: more than its documented interface gives.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers.alarm import Alarm
from benchmarks.peers.environment import NAMESAKE

__all__ = ["Namesake"]

ALIAS = "namesake_neuraldbg"


def _load() -> Any:
    """Load the package under another name, so that our own stays importable for the cases."""
    if ALIAS not in sys.modules:
        where = NAMESAKE / "neuraldbg" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            ALIAS, where, submodule_search_locations=[str(where.parent)]
        )
        if spec is None or spec.loader is None:
            message = f"{where} cannot be loaded: build the environment first"
            raise ImportError(message)
        module = importlib.util.module_from_spec(spec)
        sys.modules[ALIAS] = module
        spec.loader.exec_module(module)
    return sys.modules[ALIAS]


class _Watch:
    def __init__(self, dbg: Any) -> None:
        self.dbg = dbg

    def loss(self, value: float) -> None:
        self.dbg.record_loss(value)
        self.dbg.step += 1


class Namesake:
    """First failures in the order in which it met them: it gives raw failures no rank."""

    def __init__(self) -> None:
        self._dbg: Any = None
        self._names: dict[str, str] = {}

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        del optimizer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._dbg = _load().NeuralDbg(model)
            with self._dbg:
                self._names = {
                    self._dbg._get_layer_name(module): name  # noqa: SLF001 - no public way
                    for name, module in model.named_modules()
                }
                yield _Watch(self._dbg)

    def alarms(self) -> list[Alarm]:
        """Return the first failures, earliest first, with the layer's dotted name where it can be told."""
        if self._dbg is None:
            return []
        steps, layers = self._dbg.first_failure_step, self._dbg.first_failure_layer
        ordered = sorted(steps, key=lambda kind: steps[kind])
        return [
            Alarm(kind=kind, layer=self._names.get(layers[kind], layers[kind]), step=steps[kind])
            for kind in ordered
        ]
