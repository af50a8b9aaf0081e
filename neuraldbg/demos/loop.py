"""One ordinary training loop, and recipes that fill it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.case import Case, Observe, Outcome, Truth
from neuraldbg.demos.data import HOST, characters, diabetes, digits, ratings

__all__ = ["Recipe", "as_case", "null_observe"]

Batch = tuple[tuple[Tensor, ...], Tensor]
LENGTH = 32


class _Null:
    def loss(self, value: float) -> None:
        """Take a loss and do nothing."""


@contextmanager
def null_observe(_model: Any, _optimizer: Any) -> Iterator[_Null]:
    """Observe nothing: the plain run."""
    yield _Null()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that distinguishes one training program from another.

    The fault is whatever a field does when its ``fixed`` argument is False.

    Attributes
    ----------
    model
        ``model(fixed)``; built after seeding.
    data
        ``digits``, ``diabetes``, ``characters``, ``ratings`` or ``autoencode``.
    optimizer
        ``optimizer(model, fixed)``.
    loss
        ``loss(output, target, fixed)``.
    batch
        ``batch(batch, step, fixed)`` changes a batch.
    schedule
        ``schedule(optimizer, fixed)``: a scheduler, stepped once per step.
    before_step
        ``before_step(model, step, fixed)`` runs between backward and step (clipping).
    clears
        ``clears(fixed)``: whether gradients are cleared.
    accumulate
        Backward passes per step.
    """

    model: Callable[[bool], nn.Module]
    data: str
    optimizer: Callable[[nn.Module, bool], torch.optim.Optimizer]
    loss: Callable[[Tensor, Tensor, bool], Tensor] = lambda o, y, _fixed: F.cross_entropy(o, y)
    batch: Callable[[Batch, int, bool], Batch] = lambda batch, _step, _fixed: batch
    schedule: Callable[[torch.optim.Optimizer, bool], Any] = lambda _optimizer, _fixed: None
    before_step: Callable[[nn.Module, int, bool], None] = lambda _model, _step, _fixed: None
    after_step: Callable[[nn.Module, int, bool], None] = lambda _model, _step, _fixed: None
    clears: Callable[[bool], bool] = lambda _fixed: True
    accumulate: int = 1
    steps: int = 200
    size: int = 64


def as_case(slug: str, family: str, title: str, recipe: Recipe, truth: Truth) -> Case:
    """Return the case of a recipe."""

    def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
        return _train(recipe, observe, seed, fixed=fixed)

    return Case(id=slug, truth=truth, train=train, family=family, title=title)


def _train(recipe: Recipe, observe: Observe, seed: int, *, fixed: bool) -> Outcome:
    torch.manual_seed(seed)
    batches = _batches(recipe.data, recipe.size, seed)
    model = recipe.model(fixed)
    optimizer = recipe.optimizer(model, fixed)
    scheduler = recipe.schedule(optimizer, fixed)
    losses: list[float] = []
    model.train()
    with observe(model, optimizer) as watch:
        for step in range(recipe.steps):
            if recipe.clears(fixed):
                optimizer.zero_grad()
            total = 0.0
            for _ in range(recipe.accumulate):
                inputs, target = recipe.batch(_here(next(batches)), step, fixed)
                loss = recipe.loss(model(*inputs), target, fixed) / recipe.accumulate
                loss.backward()
                total += loss.item()
            recipe.before_step(model, step, fixed)
            optimizer.step()
            recipe.after_step(model, step, fixed)
            if scheduler is not None:
                scheduler.step()
            losses.append(total)
            watch.loss(total)
    return _outcome(recipe, model, losses, seed)


def _outcome(recipe: Recipe, model: nn.Module, losses: Sequence[float], seed: int) -> Outcome:
    final = sum(losses[-10:]) / len(losses[-10:])
    model.eval()
    inputs, target = _here(next(_batches(recipe.data, 512, seed + 1)))
    dtype = next(model.parameters()).dtype
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
    with torch.no_grad():
        output = model(*inputs)
    if recipe.data in {"digits", "characters"}:
        flat = output.float().flatten(0, -2) if output.dim() > 2 else output.float()
        right = (flat.argmax(-1) == target.flatten()).float().mean().item()
        return Outcome(metric=right, better="higher", loss=final)
    error = F.mse_loss(output.reshape(target.shape).float(), target).item()
    return Outcome(metric=error, better="lower", loss=final)


def _here(batch: Batch) -> Batch:
    """Return a batch on the device on which models are made."""
    device = torch.get_default_device()
    return tuple(x.to(device) for x in batch[0]), batch[1].to(device)


def _batches(data: str, size: int, seed: int) -> Iterator[Batch]:
    generator = torch.Generator(HOST).manual_seed(seed)
    if data == "characters":
        text = characters()
        while True:
            starts = torch.randint(
                0, text.numel() - LENGTH - 1, (size,), generator=generator, device=HOST
            )
            rows = starts[:, None] + torch.arange(LENGTH + 1, device=HOST)
            ids = text[rows]
            yield (ids[:, :-1],), ids[:, 1:]
    columns, target = _table(data)
    while True:
        index = torch.randint(0, target.shape[0], (size,), generator=generator, device=HOST)
        yield tuple(c[index] for c in columns), target[index]


def _table(data: str) -> Batch:
    if data == "digits":
        x, y = digits()
        return (x,), y
    if data == "autoencode":
        x, _ = digits()
        return (x,), x
    if data == "diabetes":
        x, y = diabetes()
        return (x,), y
    users, items, stars = ratings()
    return (users, items), stars[:, None]
