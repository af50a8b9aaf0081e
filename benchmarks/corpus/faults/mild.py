"""Injections too weak to matter: an unusual setting that is not a cause of anything."""

from __future__ import annotations

from functools import partial

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.faults.data import mixed, raw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program, dressed
from benchmarks.corpus.surgery import scale

__all__ = ["FAULTS"]


def _rate_up(program: Program, _draw: Draw) -> Injection:
    return Injection(broken=program.but(lr=program.lr * 1.7), strength="lr x 1.7")


def _rate_down(program: Program, _draw: Draw) -> Injection:
    return Injection(broken=program.but(lr=program.lr / 1.8), strength="lr / 1.8")


def _init_up(program: Program, _draw: Draw) -> Injection | None:
    if program.family == "finetune":
        return None
    names = program.sites().body[:1]
    return Injection(
        broken=program.plus(dress=dressed(scale, names, 1.5)),
        layers=tuple(names),
        strength="first weights x 1.5",
    )


def _init_down(program: Program, _draw: Draw) -> Injection | None:
    if program.family == "finetune":
        return None
    names = [program.sites().head]
    return Injection(
        broken=program.plus(dress=dressed(scale, names, 0.3)),
        layers=tuple(names),
        strength="head weights x 0.3",
    )


def _clip(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer not in {"adam", "adamw", "rmsprop"}:
        return None
    limit = draw.pick([0.01, 0.05])
    return Injection(
        broken=program.but(clip=("norm", limit)), strength=f"clipped at {limit} under Adam"
    )


def _decay(program: Program, _draw: Draw) -> Injection | None:
    if program.optimizer != "adamw":
        return None
    return Injection(broken=program.with_options(weight_decay=0.3), strength="weight decay 0.3")


def _noise(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind not in {"classes", "tokens", "binary"}:
        return None
    return Injection(
        broken=program.plus(feed=partial(mixed, share=0.06, at=0)), strength="6% wrong labels"
    )


def _inputs(program: Program, _draw: Draw) -> Injection | None:
    floats = program.task.train[0][0].is_floating_point()
    if not floats or program.task.kind not in {"classes", "binary"}:
        return None
    return Injection(
        broken=program.plus(pipeline=partial(raw, size=1.5, shift=0.5, both=False)),
        strength="inputs x 1.5 + 0.5",
    )


def _dropout(program: Program, _draw: Draw) -> Injection | None:
    if "drop" not in program.config or program.family == "siamese":
        return None
    return Injection(broken=program.configured(drop=0.3), strength="dropout 0.3")


FAULTS = (
    Fault(mechanism="learning_rate_too_high", variant="mild", inject=_rate_up),
    Fault(mechanism="learning_rate_too_low", variant="mild", inject=_rate_down),
    Fault(mechanism="initialization_too_large", variant="mild", inject=_init_up),
    Fault(mechanism="initialization_too_small", variant="mild", inject=_init_down),
    Fault(mechanism="excessive_gradient_clipping", variant="mild", inject=_clip),
    Fault(mechanism="excessive_weight_decay", variant="mild", inject=_decay),
    Fault(mechanism="label_noise", variant="mild", inject=_noise),
    Fault(mechanism="unnormalized_inputs", variant="mild", inject=_inputs),
    Fault(mechanism="excessive_dropout", variant="mild", inject=_dropout),
)
