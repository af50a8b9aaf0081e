"""torchmortem 0.1.1: ``with Autopsy(model, optimizer)`` and one ``step`` call per step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchmortem import Autopsy

from benchmarks.peers.alarm import Alarm

__all__ = ["Torchmortem"]


class _Watch:
    def __init__(self, autopsy: Any) -> None:
        self.autopsy = autopsy

    def loss(self, value: float) -> None:
        self.autopsy.step(loss=value)


class Torchmortem:
    """Findings of severity WARNING and CRITICAL count; INFO ones are told as harmless and do not."""

    def __init__(self) -> None:
        self._report: Any = None

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        autopsy = Autopsy(model, optimizer=optimizer)
        with autopsy:
            yield _Watch(autopsy)
        self._report = autopsy.get_report()

    def alarms(self) -> list[Alarm]:
        """Return findings, critical ones first, then the insights that join several of them."""
        if self._report is None:
            return []
        found = [f for f in self._report.findings if f.severity.name != "INFO"]
        alarms = [
            Alarm(
                kind=finding.title.split(" in ")[0],
                layer=layer,
                step=int(finding.step_range[0]),
            )
            for finding in found
            for layer in (finding.affected_layers or [None])
        ]
        return alarms + [Alarm(kind=insight.title) for insight in self._report.insights]
