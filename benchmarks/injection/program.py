"""One training program as a value that faults and oddities change, and the loop that runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["Batch", "Program", "Result", "train", "worse"]

Batch = tuple[tuple[Tensor, ...], Tensor]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything that distinguishes one training program from another.

    Attributes
    ----------
    family
        Architecture family.
    build
        Makes the model from the current state of the global generator.
    data
        ``data(generator, size)`` returns one batch.
    loss
        ``loss(output, target)``.
    kind
        ``classes``, ``binary``, ``regression``, ``tokens`` or ``game``.
    optimizer, lr, options
        Name, learning rate and further arguments.
    schedule
        ``schedule(step)`` is the factor on the learning rate.
    onset
        Step at which a late fault begins.
    """

    family: str
    build: Callable[[], nn.Module]
    data: Callable[[torch.Generator, int], Batch]
    loss: Callable[[Any, Tensor], Tensor]
    kind: str
    optimizer: str = "adam"
    lr: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 150
    size: int = 32
    schedule: Callable[[int], float] | None = None
    clip: float | None = None
    clip_value: float | None = None
    clears: bool = True
    accumulate: int = 1
    autocast: torch.dtype | None = None
    harm: tuple[Callable[[nn.Module], None], ...] = ()
    owns: Callable[[nn.Module], Any] | None = None
    late: tuple[Callable[[nn.Module], None], ...] = ()
    feed: tuple[Callable[[Batch, int], Batch], ...] = ()
    each: tuple[Callable[[nn.Module, int], None], ...] = ()
    calls: Callable[[nn.Module, tuple[Tensor, ...]], Any] = lambda model, inputs: model(*inputs)
    steps_optimizer: Callable[[int], bool] = lambda _step: True
    dtype: torch.dtype | None = None

    def but(self, **changes: Any) -> Self:
        """Return the program with some things changed."""
        return replace(self, **changes)

    def plus(self, **additions: Any) -> Self:
        """Return the program with something appended to its tuples."""
        return replace(self, **{k: (*getattr(self, k), v) for k, v in additions.items()})


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended: losses by step, and the normalised error on fresh data (1 is knowing nothing)."""

    losses: tuple[float, ...]
    error: float


def _optimizer(program: Program, model: nn.Module) -> torch.optim.Optimizer:
    owned = (
        program.owns(model) if program.owns else [p for p in model.parameters() if p.requires_grad]
    )
    return OPTIMIZERS[program.optimizer](owned, lr=program.lr, **program.options)


def _backward(program: Program, model: nn.Module, batch: Batch) -> float:
    inputs, target = batch
    if program.autocast is not None:
        with torch.autocast("cpu", dtype=program.autocast):
            loss = program.loss(program.calls(model, inputs), target)
    else:
        loss = program.loss(program.calls(model, inputs), target)
    loss = loss / program.accumulate
    loss.backward()
    return float(loss.detach()) * program.accumulate


def train(program: Program, observe: Callable[..., Any], seed: int) -> Result:
    """Run a program inside ``observe(model, optimizer)``."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = program.build()
    with torch.no_grad():
        for change in program.harm:
            change(model)
    if program.dtype is not None:
        model.to(program.dtype)
    model.train()
    optimizer = _optimizer(program, model)
    for change in program.late:
        change(model)
    losses: list[float] = []
    with observe(model, optimizer) as watch:
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, program.schedule or (lambda _t: 1.0))
        for step in range(program.steps):
            losses.append(_step(program, model, optimizer, generator, step))
            if program.schedule is not None:
                rate.step()
            for work in program.each:
                work(model, step)
            watch.loss(losses[-1])
    return Result(losses=tuple(losses), error=_error(program, model, seed))


def _step(
    program: Program,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    step: int,
) -> float:
    if program.clears:
        optimizer.zero_grad()
    total = 0.0
    for _ in range(program.accumulate):
        batch = program.data(generator, program.size)
        for change in program.feed:
            batch = change(batch, step)
        total += _backward(program, model, _cast(batch, program.dtype)) / program.accumulate
    if program.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), program.clip)
    if program.clip_value is not None:
        nn.utils.clip_grad_value_(model.parameters(), program.clip_value)
    if program.steps_optimizer(step):
        optimizer.step()
    return total


def _cast(batch: Batch, dtype: torch.dtype | None) -> Batch:
    if dtype is None:
        return batch
    inputs, target = batch
    floats = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
    return floats, target.to(dtype) if target.is_floating_point() else target


def _error(program: Program, model: nn.Module, seed: int) -> float:
    """Return the error on fresh data over that of a constant answer."""
    if program.kind == "game":
        return 0.0
    generator = torch.Generator().manual_seed(seed + 10_000)
    model.eval()
    with torch.enable_grad() if program.kind == "physics" else torch.no_grad():
        inputs, target = _cast(program.data(generator, 256), program.dtype)
        output = program.calls(model, inputs)
    if isinstance(output, tuple):
        output = output[0]
    output = output.detach().float()
    if program.kind in {"classes", "tokens"}:
        flat = output.flatten(0, -2) if output.dim() > 2 else output
        return _wrong(flat.argmax(-1), target.flatten())
    if program.kind == "binary":
        return _wrong((output.flatten() > 0).long(), target.flatten().long())
    target = (
        target.float().reshape(output.shape) if target.numel() == output.numel() else target.float()
    )
    spread = float(target.var()) or 1.0
    return min(float((output - target).square().mean()) / spread, 10.0)


def _wrong(guess: Tensor, truth: Tensor) -> float:
    seen = truth >= 0
    guess, truth = guess[seen], truth[seen]
    common = float(torch.bincount(truth).max()) / truth.numel()
    error = float((guess != truth).float().mean())
    return error / max(1.0 - common, 1e-6)


def worse(faulty: Result, twin: Result, onset: int | None, kind: str) -> bool:
    """Return whether the twin is clearly better: at the end, or just after the fault began.

    The end: the normalised error is higher by 0.05 and by a tenth. The aftermath: the mean loss of the ten
    steps after the onset is higher by a quarter of the twin's first loss.
    """
    if not all(map(math.isfinite, faulty.losses)) or faulty.error != faulty.error:
        return True
    gap = faulty.error - twin.error
    if kind != "game" and gap > max(0.05, 0.1 * twin.error):
        return True
    if onset is None or onset < 5:
        return False
    after, calm = faulty.losses[onset : onset + 10], twin.losses[onset : onset + 10]
    start = abs(twin.losses[0])
    return bool(after) and sum(after) / len(after) - sum(calm) / len(calm) > 0.25 * start
