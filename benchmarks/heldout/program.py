"""One training program of the held-out set, and its loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.demos.case import Observe, Outcome

__all__ = ["Program", "adam", "run", "sgd"]

Batch = tuple[Tensor, ...]


def adam(lr: float, **options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return a maker of Adam over the trainable parameters."""
    return lambda m: torch.optim.Adam(
        [p for p in m.parameters() if p.requires_grad], lr=lr, **options
    )


def sgd(lr: float, **options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return a maker of SGD over the trainable parameters."""
    return lambda m: torch.optim.SGD(
        [p for p in m.parameters() if p.requires_grad], lr=lr, **options
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything about a run; a fault is a replaced field.

    Attributes
    ----------
    model, optimizer
        Makers, called after seeding.
    batch
        ``batch(generator, rows)``.
    loss, metric
        ``loss(model, batch)`` and ``metric(model, batch)``; ``better`` says which direction is good.
    spoil
        ``spoil(batch, step)`` changes a batch before it is used.
    prepare
        ``prepare(model)`` changes a fresh model.
    before_step
        ``before_step(model, step)``, between backward and step.
    schedule
        Factor of the learning rate at a step, or None.
    clears
        Whether gradients are cleared.
    accumulate
        Backward passes per step.
    """

    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: Callable[[torch.Generator, int], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    metric: Callable[[nn.Module, Batch], float]
    better: str = "lower"
    steps: int = 250
    size: int = 32
    spoil: Callable[[Batch, int], Batch] = lambda batch, _step: batch
    prepare: Callable[[nn.Module], Any] = lambda _model: None
    before_step: Callable[[nn.Module, int], Any] = lambda _model, _step: None
    after_step: Callable[[nn.Module, int], Any] = lambda _model, _step: None
    schedule: Callable[[int], float] | None = None
    clears: bool = True
    accumulate: int = 1


def run(program: Program, observe: Observe, seed: int) -> Outcome:
    """Train; judge on 256 fresh rows."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = program.model()
    program.prepare(model)
    optimizer = program.optimizer(model)
    scheduler = program.schedule and torch.optim.lr_scheduler.LambdaLR(optimizer, program.schedule)
    losses: list[float] = []
    model.train()
    with observe(model, optimizer) as watch:
        for step in range(program.steps):
            if program.clears:
                optimizer.zero_grad()
            losses.append(_backward(program, model, generator, step))
            program.before_step(model, step)
            optimizer.step()
            program.after_step(model, step)
            if scheduler is not None:
                scheduler.step()
            watch.loss(losses[-1])
    model.eval()
    metric = float(program.metric(model, program.batch(generator, 256)))
    tail = losses[-10:]
    better = "higher" if program.better == "higher" else "lower"
    return {"metric": metric, "better": better, "loss": sum(tail) / len(tail)}


def _backward(program: Program, model: nn.Module, generator: torch.Generator, step: int) -> float:
    total = 0.0
    for _ in range(program.accumulate):
        batch = program.spoil(program.batch(generator, program.size), step)
        loss = program.loss(model, batch) / program.accumulate
        loss.backward()
        total += loss.item()
    return total
