"""What programs of all families choose: optimizer, rate, schedule, batches, precision, habits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.corpus import criteria
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.program import Program, Turn
from benchmarks.corpus.schedules import SCHEDULES
from benchmarks.corpus.task import Task

__all__ = ["Rates", "criterion_for", "finish"]

Rates = Mapping[str, tuple[float, float]]
"""Optimizer → lowest and highest learning rate known to be healthy for the family."""

PLAIN = {"none": 6, "cosine": 2, "step": 1, "milestones": 1, "exponential": 1, "linear": 1}
WARM = {"warm-up": 2, "warm-cosine": 2, "one-cycle": 1, "inverse-root": 1}


def finish(
    draw: Draw,
    family: str,
    model: Callable[..., Any],
    config: Mapping[str, Any],
    task: Task,
    rates: Rates,
    *,
    turns: tuple[Turn, ...] = (),
    steps: tuple[int, int] = (100, 220),
    sizes: Sequence[int] = (16, 32, 64),
    **more: Any,
) -> Program:
    """Return a whole program: what the family settled plus the choices that every author makes."""
    kind = draw.pick(sorted(rates))
    schedule = draw.pick([name for name, n in {**PLAIN, **WARM}.items() for _ in range(n)])
    turns = turns or (Turn(criterion=criterion_for(draw, task)),)
    return Program(
        family=family,
        model=model,
        config=config,
        task=task,
        turns=turns,
        optimizer=kind,
        lr=draw.log(*rates[kind]),
        options=_options(draw, kind),
        schedule=SCHEDULES.get(schedule),
        schedule_name=schedule,
        steps=draw.whole(*steps) if schedule in PLAIN else draw.whole(*steps) + 30,
        size=draw.pick(sizes),
        sampling="replacement" if draw.chance(0.3) else "epochs",
        precision=more.pop("precision", "amp-bf16" if draw.chance(0.08) else "float32"),
        clip=("norm", draw.pick([1.0, 2.0, 5.0])) if draw.chance(0.2) else None,
        tidy="end" if draw.chance(0.3) else "start",
        **more,
    )


def _options(draw: Draw, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if kind in {"adam", "adamw"} and draw.chance(0.25):
        options["betas"] = draw.pick([(0.9, 0.99), (0.9, 0.95), (0.8, 0.999), (0.9, 0.98)])
    if kind == "adamw":
        options["weight_decay"] = draw.pick([0.01, 0.01, 0.05, 1e-3])
    elif kind in {"sgd", "momentum", "nesterov"} and draw.chance(0.4):
        options["weight_decay"] = draw.pick([1e-4, 5e-4])
    return options


def criterion_for(draw: Draw, task: Task) -> Callable[..., Any]:
    """Return an ordinary loss for a kind of task."""
    if task.kind in {"classes", "tokens", "pixels", "nodes"}:
        return criteria.smooth_cross_entropy if draw.chance(0.1) else criteria.cross_entropy
    if task.kind == "binary":
        return criteria.binary
    return criteria.huber if draw.chance(0.2) else criteria.mse
