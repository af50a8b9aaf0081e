"""Learning rate, its schedule, and momentum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import parameters_of

__all__ = ["FAULTS", "by_layer"]


def _too_high(program: Program, draw: Draw) -> Injection:
    factor = draw.log(*((40, 400) if program.adaptive else (20, 200)))
    return Injection(
        broken=program.but(lr=program.lr * factor),
        onset=(0, max(program.steps // 10, 4)) if _warms(program) else 0,
        symptom="optimizer_instability",
        strength=f"lr x {factor:g}",
    )


def _warms(program: Program) -> bool:
    return program.schedule_name in {"warm-up", "warm-cosine", "one-cycle", "inverse-root"}


def by_layer(names: list[str], **special: Any) -> Callable[[nn.Module], list[dict[str, Any]]]:
    """Return groups in which some layers have options of their own."""

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        chosen = parameters_of(model, names)
        ids = {id(p) for p in chosen}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
        return [{"params": rest}, {"params": chosen, **special}]

    return groups


def _groupable(program: Program) -> bool:
    return len(program.turns) == 1 and program.owns is None and program.family != "finetune"


def _too_high_layer(program: Program, draw: Draw) -> Injection | None:
    if not _groupable(program):
        return None
    site = program.sites()
    name = draw.pick([*site.body, *site.embeddings, site.head])
    factor = draw.log(*((1000, 30_000) if program.adaptive else (200, 3000)))
    return Injection(
        broken=program.but(owns=by_layer([name], lr=program.lr * factor)),
        layers=(name,),
        onset=(0, max(program.steps // 10, 4)) if _warms(program) else 0,
        symptom="optimizer_instability",
        strength=f"group lr x {factor:g}",
    )


def _too_low(program: Program, draw: Draw) -> Injection:
    factor = draw.log(300, 30_000)
    return Injection(
        broken=program.but(lr=program.lr / factor),
        symptom="loss_plateau",
        strength=f"lr / {factor:g}",
    )


def _scheduled(program: Program, rate: Callable[[int], float]) -> Program:
    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.LambdaLR(optimizer, rate)

    return program.but(schedule=make, schedule_name="broken", schedule_every=1)


def _jump(program: Program, draw: Draw) -> Injection | None:
    if program.schedule_name != "none":
        return None
    at = draw.whole(program.steps // 5, int(program.steps * 0.75))
    factor = draw.log(40, 400)
    return Injection(
        broken=_scheduled(program, lambda t: 1.0 if t < at else factor),
        accept=("learning_rate_too_high",),
        onset=at,
        symptom="loss_divergence",
        strength=f"lr x {factor:g} at {at}",
    )


def _restart(program: Program, draw: Draw) -> Injection | None:
    if program.schedule_name not in {"none", "cosine"}:
        return None
    at = draw.whole(program.steps // 3, int(program.steps * 0.7))
    factor = draw.log(50, 400)

    def rate(t: int) -> float:
        if t < at:
            return 0.5 * (1 + math.cos(math.pi * t / at)) + 0.01
        return factor * 0.5 * (1 + math.cos(math.pi * (t - at) / (program.steps - at + 1)))

    return Injection(
        broken=_scheduled(program, rate),
        accept=("learning_rate_too_high",),
        onset=at,
        symptom="loss_divergence",
        strength=f"restart at {at} to lr x {factor:g}",
    )


def _per_batch(program: Program, draw: Draw) -> Injection:
    gamma = draw.pick([0.5, 0.7, 0.8, 0.85])
    every = draw.pick([1, 1, 2, 3])

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.StepLR(optimizer, step_size=every, gamma=gamma)

    gone = int(every * math.log(0.03) / math.log(gamma))
    return Injection(
        broken=program.but(schedule=make, schedule_name="broken"),
        accept=("learning_rate_too_low",),
        onset=(0, gone),
        symptom="loss_plateau",
        strength=f"x {gamma} every {every} batches",
    )


def _endless_warm_up(program: Program, draw: Draw) -> Injection:
    span = program.steps * draw.log(200, 5000)
    return Injection(
        broken=_scheduled(program, lambda t: (t + 1) / span),
        accept=("learning_rate_too_low",),
        symptom="loss_plateau",
        strength=f"warm-up over {span:.0f} steps",
    )


def _hits_zero(program: Program, draw: Draw) -> Injection:
    total = draw.whole(4, max(program.steps // 12, 6))
    return Injection(
        broken=_scheduled(program, lambda t: max(0.0, 1.0 - (t + 1) / total)),
        accept=("learning_rate_too_low",),
        onset=(total // 2, total),
        symptom="loss_plateau",
        strength=f"lr 0 from step {total}",
    )


def _grows(program: Program, draw: Draw) -> Injection | None:
    if program.schedule_name not in {"none", "exponential"}:
        return None
    gamma = draw.uniform(1.04, 1.12)

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.ExponentialLR(optimizer, gamma=gamma)

    tenfold = int(math.log(10) / math.log(gamma))
    return Injection(
        broken=program.but(schedule=make, schedule_name="broken"),
        accept=("learning_rate_too_high",),
        onset=(0, min(3 * tenfold, program.steps)),
        symptom="loss_divergence",
        strength=f"gamma {gamma}",
    )


def _momentum(program: Program, draw: Draw) -> Injection | None:
    if program.adaptive:
        return None
    beta = draw.pick([0.99, 0.995, 0.998, 0.999])
    return Injection(
        broken=program.but(optimizer="momentum").with_options(momentum=beta),
        accept=("learning_rate_too_high",),
        onset=(0, min(int(1 / (1 - beta)), program.steps // 2)),
        symptom="optimizer_instability",
        strength=f"momentum {beta}",
    )


def _adam_momentum(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer not in {"adam", "adamw"}:
        return None
    beta = draw.pick([0.9995, 0.9998, 0.9999])
    return Injection(
        broken=program.with_options(betas=(beta, 0.999)),
        onset=(0, min(int(1 / (1 - beta)), program.steps // 2)),
        symptom="optimizer_instability",
        strength=f"beta1 {beta}",
    )


FAULTS = (
    Fault(mechanism="learning_rate_too_high", variant="global", inject=_too_high, weight=3),
    Fault(mechanism="learning_rate_too_high", variant="layer", inject=_too_high_layer),
    Fault(mechanism="learning_rate_too_low", variant="global", inject=_too_low),
    Fault(mechanism="learning_rate_schedule_bug", variant="jump", inject=_jump, weight=2),
    Fault(mechanism="learning_rate_schedule_bug", variant="restart", inject=_restart),
    Fault(mechanism="learning_rate_schedule_bug", variant="per_batch", inject=_per_batch),
    Fault(mechanism="learning_rate_schedule_bug", variant="endless", inject=_endless_warm_up),
    Fault(mechanism="learning_rate_schedule_bug", variant="zero", inject=_hits_zero),
    Fault(mechanism="learning_rate_schedule_bug", variant="grows", inject=_grows),
    Fault(mechanism="excessive_momentum", variant="sgd", inject=_momentum, weight=3),
    Fault(mechanism="excessive_momentum", variant="adam", inject=_adam_momentum),
)
