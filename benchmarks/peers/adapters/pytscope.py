"""pytscope 0.2.1: ``AutoProfiler`` around the loop, scalars by ``log``, analysis of the stored run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytscope.analyzers.convergence import analyze_convergence
from pytscope.auto import AutoProfiler
from pytscope.core.store import RunStore
from pytscope.diagnosis.engine import DiagnosisContext, run_diagnosis

from benchmarks.peers.alarm import Alarm, gradient_norm, rate

__all__ = ["Pytscope"]


class _Watch:
    def __init__(self, profiler: Any, optimizer: Any) -> None:
        self.profiler, self.optimizer, self.norm = profiler, optimizer, 0.0

    def before(self, optimizer: Any, *_: Any) -> None:
        self.norm = gradient_norm(optimizer)

    def loss(self, value: float) -> None:
        self.profiler.log(loss=value, grad_norm=self.norm, lr=rate(self.optimizer))


class Pytscope:
    """Findings about convergence; notes about timing are no claim that training failed and do not count."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="pytscope-")

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        profiler = AutoProfiler(self._folder, model, optimizer)
        watch = _Watch(profiler, optimizer)
        handle = optimizer.register_step_pre_hook(watch.before)
        try:
            with profiler:
                yield watch
        finally:
            handle.remove()

    def alarms(self) -> list[Alarm]:
        """Return the findings as its command line ranks them."""
        steps = RunStore.load(self._folder).steps
        summary = analyze_convergence(steps)
        found = run_diagnosis(DiagnosisContext(convergence=summary, steps=steps))
        return [
            Alarm(kind=f"{f.code}: {f.title.split(' at ')[0]}", step=summary.diverged_at)
            for f in found
            if f.code.startswith(("CONVERGENCE", "CROSS"))
        ]
