"""Weights that start too large, too small, or all alike."""

from __future__ import annotations

from torch import nn

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program, dressed, layer_of
from benchmarks.corpus.surgery import matrices, scale

__all__ = ["FAULTS"]

BOUNDED = {"tanh", "sigmoid"}


def _fresh(program: Program) -> bool:
    return program.family != "finetune"


def _weights(program: Program) -> list[str]:
    site = program.sites()
    return [*site.body, site.head]


def _large_all(program: Program, draw: Draw) -> Injection | None:
    if not _fresh(program):
        return None
    names = _weights(program)
    factor = draw.log(4, 12) if len(names) > 4 else draw.log(6, 40)
    return Injection(
        broken=program.plus(dress=dressed(scale, names, factor)),
        accept=("saturated_activations",) if program.sites().act in BOUNDED else (),
        symptom="exploding_gradients",
        strength=f"weights x {factor:g}",
    )


def _unit_normal(model: nn.Module, names: list[str], std: float) -> None:
    for name in names:
        for weight in matrices(layer_of(model, name)):
            nn.init.normal_(weight, std=std)


def _normal(program: Program, draw: Draw) -> Injection | None:
    if not _fresh(program):
        return None
    std = draw.pick([0.8, 1.0, 1.0, 2.0])
    return Injection(
        broken=program.plus(dress=dressed(_unit_normal, _weights(program), std)),
        accept=("saturated_activations",) if program.sites().act in BOUNDED else (),
        symptom="exploding_gradients",
        strength=f"normal with std {std}",
    )


def _large_one(program: Program, draw: Draw) -> Injection | None:
    if not _fresh(program):
        return None
    name = draw.pick(_weights(program))
    factor = draw.log(40, 400)
    return Injection(
        broken=program.plus(dress=dressed(scale, [name], factor)),
        accept=("saturated_activations",) if program.sites().act in BOUNDED else (),
        layers=(name,),
        symptom="exploding_gradients",
        strength=f"weights x {factor:g}",
    )


def _small_all(program: Program, draw: Draw) -> Injection | None:
    if not _fresh(program):
        return None
    names = _weights(program)
    factor = draw.log(1e-9, 1e-6) if program.adaptive else draw.log(1e-3, 0.05)
    return Injection(
        broken=program.plus(dress=dressed(scale, names, factor)),
        accept=("depth_attenuation",) if len(names) > 3 else (),
        symptom="loss_plateau",
        strength=f"weights x {factor:g}",
    )


def _small_one(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    chain = [n for n in site.body if n in site.hidden]
    if not _fresh(program) or len(chain) < 2 or program.family == "deep_residual":
        return None
    name = draw.pick(chain[1:])
    factor = draw.log(1e-9, 1e-6)
    return Injection(
        broken=program.plus(dress=dressed(scale, [name], factor)),
        layers=(name,),
        symptom="loss_plateau",
        strength=f"weights x {factor:g}",
    )


def _fill(model: nn.Module, names: list[str], value: float) -> None:
    for name in names:
        for parameter in layer_of(model, name).parameters():
            parameter.fill_(value if parameter.dim() >= 2 else 0.0)


def _constant_all(program: Program, draw: Draw) -> Injection | None:
    if not _fresh(program):
        return None
    site = program.sites()
    value = draw.pick([0.0, 0.0, 0.01, 0.05, 0.1])
    names = [*site.body, site.head, *(site.embeddings if draw.chance(0.5) else [])]
    return Injection(
        broken=program.plus(dress=dressed(_fill, names, value)),
        accept=("initialization_too_small",) if value == 0.0 else (),
        symptom="loss_plateau",
        strength=f"all weights {value}",
    )


def _constant_one(program: Program, draw: Draw) -> Injection | None:
    """Make the units of one layer alike for good: equal weights in, and equal weights out of them."""
    site = program.sites()
    chain = [*(n for n in site.body if n in site.hidden), site.head]
    plain = {"mlp_relu", "mlp_smooth", "tabular", "siamese", "recommender", "bag_text", "cnn_plain",
             "physics", "autoencoder"}  # fmt: skip
    if program.family not in plain or site.act == "sine" or len(chain) < 2:
        return None
    # The code of an autoencoder lies between its two chains, so only neighbours within one count.
    place = draw.whole(0, len(chain) - 2)
    names = chain[place : place + 2]
    if program.family == "autoencoder" and names[0].split(".")[0] != names[1].split(".")[0]:
        return None
    value = draw.pick([0.02, 0.05, 0.1])
    return Injection(
        broken=program.plus(dress=dressed(_fill, names, value)),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"weights {value} into and out of the units",
    )


FAULTS = (
    Fault(mechanism="initialization_too_large", variant="scaled", inject=_large_all, weight=2),
    Fault(mechanism="initialization_too_large", variant="normal", inject=_normal),
    Fault(mechanism="initialization_too_large", variant="layer", inject=_large_one, weight=2),
    Fault(mechanism="initialization_too_small", variant="scaled", inject=_small_all, weight=2),
    Fault(mechanism="initialization_too_small", variant="layer", inject=_small_one),
    Fault(mechanism="symmetric_initialization", variant="constant", inject=_constant_all, weight=2),
    Fault(mechanism="symmetric_initialization", variant="layer", inject=_constant_one),
)
