"""traintools 0.6.2: ``GradientHealthMonitor`` and ``BatchInspector`` each step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from traintools import BatchInspector, GradientHealthMonitor

from benchmarks.peers.alarm import Alarm, rate

__all__ = ["Traintools"]

PARAMETER = re.compile(
    r"^(\S+) (has non-finite gradients|gradient appears vanished|gradient is very large|update/weight ratio is high)"
)
TENSOR = re.compile(r"^(\S+) (has non-finite values|abs max|is nearly constant|is empty)")


class _Watch:
    def loss(self, value: float) -> None:
        """Its monitors do not take the loss."""


class Traintools:
    """Defaults of both monitors: the README's ``max_grad_norm=1.0`` would alarm on nearly every run."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None], int] = {}
        self._step = 0

    def _note(self, warning: str, step: int) -> None:
        match = PARAMETER.match(warning)
        if match:
            key = (match[2], match[1].rpartition(".")[0] or match[1])
        elif match := TENSOR.match(warning):
            key = ("input " + match[2], None)
        else:
            key = (re.sub(r"[\d.e+-]{3,}.*", "", warning).split("(")[0].strip(), None)
        self._found.setdefault(key, step)

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        health, batch = GradientHealthMonitor(), BatchInspector()

        def inputs(_module: Any, args: Any) -> None:
            for warning in batch.inspect(args, step=self._step).warnings:
                self._note(warning, self._step)

        def before(opt: Any, *_: Any) -> None:
            for warning in health.inspect(model, step=self._step, lr=rate(opt)).warnings:
                self._note(warning, self._step)
            self._step += 1

        handles = [
            model.register_forward_pre_hook(inputs),
            optimizer.register_step_pre_hook(before),
        ]
        try:
            yield _Watch()
        finally:
            for handle in handles:
                handle.remove()

    def alarms(self) -> list[Alarm]:
        """Return each warning once per layer, earliest first: the tool has no severities."""
        return [
            Alarm(kind=kind, layer=layer, step=step) for (kind, layer), step in self._found.items()
        ]
