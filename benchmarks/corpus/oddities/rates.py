"""Unusual but healthy rates, schedules, batch sizes and lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.program import Program, layer_of
from benchmarks.corpus.schedules import SCHEDULES

__all__ = ["LATER", "ODDITIES"]

GAME = {"gan"}


def warm_up(program: Program, _draw: Draw) -> Program | None:
    """Start near zero and rise for a third of the run."""
    if program.family in GAME:
        return None
    span = program.steps // 3

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / span))

    steps = int(program.steps * 1.3)
    return program.but(schedule=make, schedule_name="long-warm-up", steps=steps)


def cosine_to_zero(program: Program, _draw: Draw) -> Program | None:
    """End at a rate of zero."""
    if program.family in GAME:
        return None
    return program.but(
        schedule=SCHEDULES["cosine"], schedule_name="cosine", steps=int(program.steps * 1.2)
    )


def restarts(program: Program, draw: Draw) -> Program | None:
    """Fall and restart a few times."""
    if program.family in GAME:
        return None
    period = program.steps // draw.pick([3, 4])

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=period)

    # The run ends at the end of a period, as its author would let it.
    return program.but(schedule=make, schedule_name="restarts", steps=period * 4)


def cyclic(program: Program, draw: Draw) -> Program | None:
    """Go up and down between a sixth of the rate and the rate."""
    if program.family in GAME:
        return None
    half = draw.whole(15, 30)

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.LambdaLR(
            optimizer, lambda t: 0.17 + 0.83 * (1 - abs((t / half) % 2 - 1))
        )

    return program.but(schedule=make, schedule_name="cyclic", steps=int(program.steps * 1.3))


def step_drops(program: Program, _draw: Draw) -> Program | None:
    """Drop the rate tenfold late in the run."""
    if program.family in GAME:
        return None
    at = int(program.steps * 0.8)

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.MultiStepLR(optimizer, milestones=[at], gamma=0.1)

    return program.but(schedule=make, schedule_name="drop")


def plateau(program: Program, _draw: Draw) -> Program | None:
    """Lower the rate when the loss stops falling, judged by a running mean."""
    if program.family in GAME:
        return None

    def after(
        _model: nn.Module, optimizer: torch.optim.Optimizer, step: int, memo: dict[str, Any]
    ) -> None:
        judge = memo.setdefault(
            "plateau", lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=4)
        )
        if step % 10 == 9:
            judge.step(memo["loss"])

    return program.but(schedule=None, schedule_name="plateau").plus(after_step=after)


def catapult(program: Program, draw: Draw) -> Program | None:
    """Use a rate at the upper end of what works with plain gradient descent."""
    if program.optimizer != "sgd" or program.family == "deep_residual":
        return None
    return program.but(
        lr=program.lr * draw.pick([1.8, 2.5]),
        schedule=SCHEDULES["linear"],
        schedule_name="linear",
        steps=int(program.steps * 1.2),
    )


def low_rate(program: Program, draw: Draw) -> Program | None:
    """Use a low rate and the patience that it needs."""
    if program.family in GAME or program.steps > 250:
        return None
    return program.but(
        lr=program.lr / draw.pick([3.0, 5.0]),
        steps=program.steps * 3,
        schedule=None,
        schedule_name="none",
    )


def small_batches(program: Program, draw: Draw) -> Program | None:
    """Use batches of four to eight, at a rate that fits them."""
    site = program.sites()
    contrast = program.task.kind in {"pairs", "cloud"}
    if contrast or any("bn" in n or "norm" in n or "features" in n for n in site.norms):
        return None
    return program.but(size=draw.pick([4, 6, 8]), lr=program.lr / 2, steps=int(program.steps * 1.6))


def large_batches(program: Program, _draw: Draw) -> Program | None:
    """Use batches four times larger."""
    if program.family in {"unet", "resnet", "transformer_lm", "lstm", "gru", "seq2seq"}:
        return None
    return program.but(size=min(program.size * 4, 256))


def short(program: Program, draw: Draw) -> Program | None:
    """Stop after some sixty steps, when most is learned but not all."""
    if program.schedule_name not in {"none", "step", "exponential", "linear", "cosine"}:
        return None
    slow = {"gan", "diffusion", "physics", "lstm", "gru", "rnn", "seq2seq", "transformer_lm"}
    if program.family in slow or program.task.name in {"spirals", "shapes"}:
        return None
    return program.but(steps=draw.whole(60, 80))


def converged(program: Program, draw: Draw) -> Program | None:
    """Go on long after there is nothing left to learn."""
    cheap = {"mlp_relu", "mlp_smooth", "tabular", "bag_text", "finetune", "recommender", "siamese"}
    if program.family not in cheap or program.precision != "float32":
        return None
    return program.but(steps=draw.whole(1100, 1500), schedule=None, schedule_name="none")


def long_decay(program: Program, draw: Draw) -> Program | None:
    """Run for long, ending with a rate of zero."""
    cheap = {"mlp_smooth", "autoencoder", "vae", "rnn", "graph", "cnn_plain", "forecaster"}
    if program.family not in cheap or program.precision != "float32":
        return None
    return program.but(
        steps=draw.whole(500, 700), schedule=SCHEDULES["cosine"], schedule_name="cosine"
    )


def momentum_095(program: Program, _draw: Draw) -> Program | None:
    """Use a momentum of 0.95 with a rate that fits it."""
    if program.optimizer not in {"momentum", "nesterov"}:
        return None
    return program.but(lr=program.lr / 2).with_options(momentum=0.95)


def momentum_099(program: Program, _draw: Draw) -> Program | None:
    """Use Nesterov's momentum of 0.99 with a rate that fits it, as nnU-Net does (Isensee et al. 2021)."""
    if program.optimizer not in {"sgd", "momentum", "nesterov"} or len(program.turns) > 1:
        return None
    memory = 1.0 if program.optimizer == "sgd" else 10.0
    slower = program.but(
        optimizer="nesterov", lr=program.lr * memory / 200.0, steps=3 * program.steps
    )
    return slower.with_options(momentum=0.99)


def layered_rates(program: Program, draw: Draw) -> Program | None:
    """Give early layers smaller rates and spare biases and norms the decay, as fine-tuners do."""
    usual = len(program.turns) == 1 and program.owns is None and program.family != "finetune"
    body = program.sites().body
    if not usual or len(body) < 2:
        return None
    factor = draw.pick([0.5, 0.7])
    rate = program.lr

    def owns(model: nn.Module) -> list[dict[str, Any]]:
        groups, seen = [], set()
        for depth, name in enumerate(reversed(body)):
            parameters = list(layer_of(model, name).parameters())
            seen |= {id(p) for p in parameters}
            groups.append({"params": parameters, "lr": rate * max(factor**depth, 0.1)})
        rest = [p for p in model.parameters() if id(p) not in seen and p.requires_grad]
        return [{"params": rest, "weight_decay": 0.0}, *groups]

    return program.but(owns=owns, steps=int(program.steps * 1.3))


def spared_norms(program: Program, _draw: Draw) -> Program | None:
    """Decay matrices only."""
    if program.optimizer != "adamw" or len(program.turns) > 1 or program.family == "finetune":
        return None

    def owns(model: nn.Module) -> list[dict[str, Any]]:
        trained = [p for p in model.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]

    return program.but(owns=owns)


def half_cosine_warm(program: Program, _draw: Draw) -> Program | None:
    """Warm up over ten steps with a rate twice the usual, then fall."""
    if program.family in GAME or program.optimizer not in {"adam", "adamw"}:
        return None
    steps = program.steps

    def rate(t: int) -> float:
        return 1.6 * min((t + 1) / 10, 0.5 * (1 + math.cos(math.pi * min(t / steps, 1.0))))

    def make(optimizer: torch.optim.Optimizer, _steps: int) -> Any:
        return lr_scheduler.LambdaLR(optimizer, rate)

    return program.but(schedule=make, schedule_name="warm-high")


ODDITIES: dict[str, Callable[[Program, Draw], Program | None]] = {
    "warm-up": warm_up,
    "cosine-to-zero": cosine_to_zero,
    "restarts": restarts,
    "cyclic": cyclic,
    "step-drop": step_drops,
    "plateau": plateau,
    "catapult": catapult,
    "low-rate": low_rate,
    "small-batches": small_batches,
    "large-batches": large_batches,
    "short": short,
    "converged": converged,
    "long-decay": long_decay,
    "momentum-0.95": momentum_095,
    "layered-rates": layered_rates,
    "spared-norms": spared_norms,
    "warm-high": half_cosine_warm,
}
# Added later, and drawn last: what was drawn before stays what it was.
LATER: dict[str, Callable[[Program, Draw], Program | None]] = {"momentum-0.99": momentum_099}
