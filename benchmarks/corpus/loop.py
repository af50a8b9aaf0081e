"""The training loop that every program of the corpus runs through, and the score at its end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from benchmarks.corpus.program import Program, Turn
from benchmarks.corpus.task import Batch

__all__ = ["Result", "null_observe", "train"]

PROGRAM_ERRORS = (RuntimeError, ValueError, ArithmeticError, IndexError)


class Result(TypedDict):
    """How a run ended; ``skill`` is scale-free (0 trivial, 1 perfect), ``losses`` has one value a step."""

    metric: float
    better: Literal["higher", "lower"]
    loss: float
    skill: float
    losses: list[float]
    crashed: str | None


class _Null:
    def loss(self, value: float) -> None:
        """Take a loss and do nothing."""


@contextmanager
def null_observe(_model: Any, _optimizer: Any) -> Iterator[_Null]:
    """Observe nothing: the plain run."""
    yield _Null()


def train(program: Program, observe: Callable[..., Any], seed: int) -> Result:
    """Run a program inside ``observe`` and score it afterwards.

    An error inside the loop ends the run, as it would for its author; its text is part of the result.
    """
    torch.manual_seed(seed)
    model = program.new_model()
    optimizers = [make_optimizer(program, model, turn) for turn in program.turns]
    for edit in program.late:
        with torch.no_grad():
            edit(model, optimizers[0])
    losses: list[float] = []
    crashed = None
    model.train(not program.stays_in_eval)
    try:
        with observe(model, optimizers[0]) as watch:
            _Run(program, model, optimizers, seed).go(losses, watch)
    except PROGRAM_ERRORS as error:
        crashed = f"{type(error).__name__}: {error}"[:200]
    metric = _evaluate(program, model)
    return Result(
        metric=metric,
        better=program.task.better,
        loss=_mean(losses[-10:]),
        skill=program.task.skill(metric),
        losses=losses,
        crashed=crashed,
    )


def make_optimizer(program: Program, model: nn.Module, turn: Turn) -> torch.optim.Optimizer:
    """Build the optimizer of one turn."""
    part = model.get_submodule(turn.part)
    parameters = program.owns(model) if program.owns and not turn.part else None
    if parameters is None:
        parameters = [p for p in part.parameters() if p.requires_grad]
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": 0.9}),
        "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        "adam": (torch.optim.Adam, {}),
        "adamw": (torch.optim.AdamW, {}),
        "rmsprop": (torch.optim.RMSprop, {}),
        "adagrad": (torch.optim.Adagrad, {}),
    }
    make, usual = kinds[program.optimizer]
    return make(parameters, lr=program.lr, **{**usual, **program.options})


class _Run:
    """The state of one loop."""

    def __init__(
        self,
        program: Program,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        seed: int,
    ) -> None:
        self.program, self.model, self.optimizers = program, model, optimizers
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.batches = _batches(program, self.generator)
        self.memo: dict[str, Any] = {}
        make = program.schedule
        self.schedulers = [make(o, program.steps) for o in optimizers] if make else []

    def go(self, losses: list[float], watch: Any) -> None:
        for step in range(self.program.steps):
            inputs = [self._next(step) for _ in range(self.program.accumulate)]
            value = 0.0
            for turn, optimizer in zip(self.program.turns, self.optimizers, strict=True):
                value = self._turn(turn, optimizer, inputs, step)
            if self.schedulers and (step + 1) % self.program.schedule_every == 0:
                for scheduler in self.schedulers:
                    scheduler.step()
            losses.append(value)
            watch.loss(value)

    def _next(self, step: int) -> Batch:
        batch = next(self.batches)
        for change in self.program.feed:
            batch = change(batch, step, self.generator)
        return batch

    def _turn(
        self, turn: Turn, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], step: int
    ) -> float:
        program = self.program
        if program.tidy == "start" and program.clears(step):
            optimizer.zero_grad()
        total = 0.0
        for inputs, target in batches:
            loss = program.weigh(self._loss(turn, inputs, target), step) / len(batches)
            total += loss.item()
            (loss * program.loss_scale if program.loss_scale != 1.0 else loss).backward()
        self.memo["loss"] = total
        if program.unscale:
            _unscale(self.model, program.loss_scale)
        for edit in program.before_step:
            edit(self.model, optimizer, step, self.memo)
        _clip(self.model, program.clip)
        if not self.memo.pop("skip", False):
            optimizer.step()
        if program.tidy == "end" and program.clears(step):
            optimizer.zero_grad()
        for edit in program.after_step:
            edit(self.model, optimizer, step, self.memo)
        return total

    def _loss(self, turn: Turn, inputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        precision = self.program.precision
        if precision in {"bf16", "fp16"}:
            dtype = next(self.model.parameters()).dtype
            inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
        with _cast(precision):
            output = turn.forward(self.model, inputs)
        if precision != "float32" and "half-loss" not in self.program.notes:
            output = _float(output)
        loss = turn.criterion(output, target)
        penalty = self.program.penalty
        return loss if penalty is None else loss + penalty(self.model)


def _cast(precision: str) -> Any:
    dtypes = {"amp-bf16": torch.bfloat16, "amp-fp16": torch.float16}
    if precision not in dtypes:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=dtypes[precision])


def _float(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(_float(o) for o in output)
    return output.float() if isinstance(output, Tensor) and output.is_floating_point() else output


def _unscale(model: nn.Module, scale: float) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(scale)


def _clip(model: nn.Module, clip: tuple[str, float] | None) -> None:
    if clip is None:
        return
    kind, limit = clip
    if kind == "norm":
        nn.utils.clip_grad_norm_(model.parameters(), limit)
    else:
        nn.utils.clip_grad_value_(model.parameters(), limit)


def _batches(program: Program, generator: torch.Generator) -> Iterator[Batch]:
    inputs, target = _piped(program, program.task.train)
    for index in _indices(target.shape[0], program, generator):
        yield tuple(x[index] for x in inputs), target[index]


def _indices(count: int, program: Program, generator: torch.Generator) -> Iterator[Tensor]:
    size = min(program.size, count)
    while True:
        if program.sampling == "replacement":
            yield torch.randint(0, count, (size,), generator=generator)
            continue
        order = torch.arange(count)
        if program.sampling == "epochs":
            order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _piped(program: Program, batch: Batch) -> Batch:
    for change in program.pipeline:
        batch = change(batch)
    return batch


def _evaluate(program: Program, model: nn.Module) -> float:
    inputs, target = _piped(program, program.task.test)
    model.eval()
    model.float()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(12345)
            with torch.no_grad():
                output = program.predict(model, inputs)
        return program.task.score(output, target)
    except PROGRAM_ERRORS:
        return math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
