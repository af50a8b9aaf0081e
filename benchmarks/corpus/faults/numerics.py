"""Sixteen bits: too large, too small, too coarse."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import patch_output

__all__ = ["FAULTS"]


def _halves(program: Program) -> bool:
    """Return whether the program's operations exist in sixteen bits on a CPU, and train one network."""
    return (
        not program.rnn_op
        and len(program.turns) == 1
        and "derivatives" not in program.notes
        and program.family not in {"unet", "resnet", "finetune", "bag_text"}
    )


def _full(program: Program) -> Program:
    return program.but(precision="float32", clip=None)


def _scaled(program: Program, draw: Draw) -> Injection | None:
    if not _halves(program):
        return None
    power = draw.whole(21, 28)
    mixed = program.but(precision="amp-fp16", clip=None, unscale=True)
    return Injection(
        broken=mixed.but(loss_scale=2.0**power),
        twin=mixed.but(loss_scale=2.0**8),
        onset=None,
        symptom="nonfinite_values",
        strength=f"fixed loss scale 2^{power}",
    )


def _sum_first(h: Tensor, *, size: float) -> Tensor:
    """Add up before dividing: the number in between is ``size`` times larger."""
    return (h * size) / size


def _between(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if not _halves(program):
        return None
    name = draw.pick([n for n in [*site.body, site.head] if n not in site.recurrent] or [site.head])
    size = draw.log(3.2e4, 6.4e4)
    dress = partial(_patch, name=name, size=size)
    return Injection(
        broken=program.but(precision="amp-fp16", clip=None).plus(dress=dress),
        twin=_full(program).plus(dress=dress),
        layers=(name,),
        onset=None,
        symptom="nonfinite_values",
        strength=f"sums of {size:g} terms in half precision",
    )


def _patch(model: nn.Module, name: str, size: float) -> None:
    patch_output(model, name, partial(_sum_first, size=size))


def _grows(program: Program, draw: Draw) -> Injection | None:
    """Raise activations during the run: a factor that the author lets grow with every step."""
    site = program.sites()
    if not _halves(program) or not site.body:
        return None
    name, pace = draw.pick([site.body[-1], site.head]), draw.uniform(1.08, 1.2)
    dress = partial(_growing, name=name, pace=pace)
    return Injection(
        broken=program.but(precision="amp-fp16", clip=None).plus(dress=dress),
        twin=_full(program).plus(dress=dress),
        layers=(name,),
        onset=None,
        symptom="nonfinite_values",
        strength=f"an inner factor that grows {pace} times a step",
    )


def _growing(model: nn.Module, name: str, pace: float) -> None:
    state = {"size": 1.0}

    def change(h: Tensor) -> Tensor:
        if h.requires_grad:
            state["size"] = min(state["size"] * pace, 1e6)
        return (h * state["size"]) / state["size"]

    patch_output(model, name, change)


def _underflow(program: Program, draw: Draw) -> Injection | None:
    if not _halves(program) or program.optimizer not in {"adam", "adamw"}:
        return None
    factor = draw.log(1e-8, 3e-7)

    def weigh(loss: Tensor, _step: int) -> Tensor:
        return loss * factor

    mixed = program.but(precision="amp-fp16", clip=None, weigh=weigh).with_options(eps=1e-15)
    return Injection(
        broken=mixed,
        twin=mixed.but(precision="float32"),
        symptom="vanishing_gradients",
        strength=f"loss x {factor:g} without loss scaling",
    )


def _absorbed(program: Program, draw: Draw) -> Injection | None:
    if not _halves(program) or program.family in {
        "graph",
        "diffusion",
        "siamese",
        "transformer_lm",
        "vae",
    }:
        return None
    rate = draw.log(1.2e-4, 2.5e-4)
    slow = program.but(
        optimizer=draw.pick(["adam", "adamw"]),
        lr=rate,
        options={},
        schedule=None,
        schedule_name="none",
        steps=min(max(3 * program.steps, 420), 700),
        clip=None,
        precision="float32",
    )
    return Injection(
        broken=slow.but(precision="bf16"),
        twin=slow,
        symptom="loss_plateau",
        strength=f"bfloat16 weights at lr {rate:g}",
    )


FAULTS = (
    Fault(mechanism="half_precision_overflow", variant="loss_scale", inject=_scaled),
    Fault(mechanism="half_precision_overflow", variant="sum", inject=_between),
    Fault(mechanism="half_precision_overflow", variant="growth", inject=_grows),
    Fault(mechanism="half_precision_underflow", variant="small_loss", inject=_underflow),
    Fault(mechanism="low_precision_update_absorption", variant="bf16", inject=_absorbed),
)
