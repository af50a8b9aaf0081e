"""A rule baseline: the absolute thresholds that one would write after reading the field's tools.

Plain hooks, one threshold a rule, no history and no probability: the rules of SageMaker Debugger,
AutoTrainer and UMLAUT where they have one (cited beside each), our own choice where they have none. Rules that
read a setting come first, exact checks next, symptoms last; that order is the ranking.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers.alarm import Alarm
from benchmarks.peers.gauges import Gauges
from benchmarks.peers.rulebook import RULES

__all__ = ["Rules"]


class _Watch:
    def __init__(self, gauges: Gauges) -> None:
        self.gauges = gauges

    def loss(self, value: float) -> None:
        self.gauges.losses.append(value)


class Rules:
    """Gauges on the loop, then the rule book in its order."""

    def __init__(self) -> None:
        self._gauges: Gauges | None = None

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        self._gauges = Gauges(model, optimizer)
        try:
            yield _Watch(self._gauges)
        finally:
            self._gauges.remove()

    def alarms(self) -> list[Alarm]:
        """Return what the rules say, in their order."""
        if self._gauges is None:
            return []
        return [alarm for rule in RULES for alarm in rule(self._gauges)]
