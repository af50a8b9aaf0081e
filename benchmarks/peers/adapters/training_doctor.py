"""training-doctor 0.1.0: ``doctor.log`` with loss, learning rate and gradient norm each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from training_doctor import Doctor

from benchmarks.peers.alarm import Alarm, gradient_norm, rate

__all__ = ["TrainingDoctor"]

SEVERITY = {"critical": 0, "warning": 1, "info": 2}


class _Watch:
    def __init__(self, doctor: Any, optimizer: Any) -> None:
        self.doctor, self.optimizer = doctor, optimizer
        self.step, self.norm = 0, 0.0

    def before(self, optimizer: Any, *_: Any) -> None:
        self.norm = gradient_norm(optimizer)

    def loss(self, value: float) -> None:
        self.doctor.log(step=self.step, loss=value, lr=rate(self.optimizer), grad_norm=self.norm)
        self.step += 1


class TrainingDoctor:
    """All its diagnoses but informational ones, by severity, then by its own confidence."""

    def __init__(self) -> None:
        self._doctor = Doctor()

    @contextmanager
    def __call__(self, model: Any, optimizer: Any) -> Iterator[_Watch]:
        del model
        watch = _Watch(self._doctor, optimizer)
        handle = optimizer.register_step_pre_hook(watch.before)
        try:
            yield watch
        finally:
            handle.remove()

    def alarms(self) -> list[Alarm]:
        """Return each problem once, at the step of its first diagnosis."""
        kept = [d for d in self._doctor.diagnoses if d.severity.value != "info"]
        ordered = sorted(kept, key=lambda d: (SEVERITY[d.severity.value], -d.confidence))
        first = {d.problem: d.step for d in reversed(kept)}
        return [Alarm(kind=p, step=first[p]) for p in dict.fromkeys(d.problem for d in ordered)]
