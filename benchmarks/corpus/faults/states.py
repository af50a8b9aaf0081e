"""Units that are stuck, attention that sees one place, normalization without statistics, dropout."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program, dressed, layer_of
from benchmarks.corpus.surgery import fill_bias, patch_output

__all__ = ["FAULTS"]

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _chosen(draw: Draw, names: list[str]) -> list[str]:
    return list(names) if draw.chance(0.4) else [draw.pick(names)]


def _where(chosen: list[str], names: list[str]) -> tuple[str, ...] | None:
    return None if len(chosen) == len(names) and len(names) > 1 else tuple(chosen)


def _offset(bias: Tensor, *, size: float) -> Tensor:
    signs = torch.randint(0, 2, bias.shape, dtype=bias.dtype) * 2 - 1
    return size * signs


def _saturated_bias(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    names = site.hidden if site.act in {"tanh", "sigmoid"} else []
    names = names or [n for n in site.recurrent if site.act == "tanh"]
    if not names:
        return None
    chosen, size = _chosen(draw, names), draw.log(25, 100)
    return Injection(
        broken=program.plus(dress=dressed(fill_bias, chosen, partial(_offset, size=size))),
        accept=("initialization_too_large",),
        layers=_where(chosen, names),
        symptom="saturated_activations",
        strength=f"biases of {size:g}",
    )


def _saturated_gain(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if site.act not in {"tanh", "sigmoid"} or not site.hidden:
        return None
    chosen, gain = _chosen(draw, site.hidden), draw.log(40, 400)
    edit = partial(_amplify, names=chosen, gain=gain)
    return Injection(
        broken=program.plus(dress=edit),
        accept=("initialization_too_large",),
        layers=_where(chosen, site.hidden),
        symptom="saturated_activations",
        strength=f"pre-activations x {gain:g}",
    )


def _amplify(model: nn.Module, names: list[str], gain: float) -> None:
    for name in names:
        patch_output(model, name, lambda h: h * gain)


def _dead(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if site.act != "relu" or not site.hidden or program.family == "finetune":
        return None
    chosen, size = _chosen(draw, site.hidden), draw.log(15, 80)
    edit = dressed(fill_bias, chosen, lambda bias: torch.full_like(bias, -size))
    return Injection(
        broken=program.plus(dress=edit),
        layers=_where(chosen, site.hidden),
        symptom="dead_units",
        strength=f"biases of {-size:g}",
    )


def _dead_norm(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    names = [n for n in site.norms if "norm2" not in n]
    if site.act != "relu" or not names or program.family not in {"cnn_norm", "resnet", "unet"}:
        return None
    chosen, size = _chosen(draw, names), draw.log(8, 30)
    edit = dressed(fill_bias, chosen, lambda bias: torch.full_like(bias, -size))
    return Injection(
        broken=program.plus(dress=edit),
        layers=_where(chosen, names),
        symptom="dead_units",
        strength=f"shifts of {-size:g}",
    )


def _dead_shift(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if site.act != "relu" or not site.hidden:
        return None
    chosen, size = _chosen(draw, site.hidden), draw.log(15, 80)
    edit = partial(_lower, names=chosen, size=size)
    return Injection(
        broken=program.plus(dress=edit),
        layers=_where(chosen, site.hidden),
        symptom="dead_units",
        strength=f"thresholds of {size:g}",
    )


def _lower(model: nn.Module, names: list[str], size: float) -> None:
    for name in names:
        patch_output(model, name, lambda h: h - size)


def _named_scale(model: nn.Module, names: list[str], factor: float, share: int) -> None:
    """Scale query and key weights; of a fused projection only the rows of queries and keys."""
    parameters = dict(model.named_parameters())
    for name in names:
        weight = parameters[name]
        rows = weight.shape[0] // 3 * 2 if share == 3 else weight.shape[0]
        weight[:rows].mul_(factor)


def _attention(program: Program, draw: Draw) -> Injection | None:
    return _larger_queries(program, draw, 25, 120)


def _queries(program: Program, draw: Draw) -> Injection | None:
    return _larger_queries(program, draw, 3, 9)


def _larger_queries(program: Program, draw: Draw, least: float, most: float) -> Injection | None:
    site = program.sites()
    if not site.attention:
        return None
    modules = list(site.attention)
    chosen = _chosen(draw, modules)
    names = [p for m in chosen for p in site.attention[m]]
    fused = 3 if any(n.endswith(("c_attn.weight", "in_proj_weight")) for n in names) else 1
    factor = draw.log(least, most)
    return Injection(
        broken=program.plus(dress=partial(_named_scale, names=names, factor=factor, share=fused)),
        accept=("initialization_too_large",),
        layers=(
            *chosen,
            *dict.fromkeys(n.rpartition(".")[0] for n in names if n.endswith(".weight")),
        ),
        symptom="loss_plateau",
        strength=f"queries and keys x {factor:g}",
    )


def _sharp(program: Program, draw: Draw) -> Injection | None:
    return _sharper(program, draw.log(100, 2000))


def _unscaled(program: Program, draw: Draw) -> Injection | None:
    """Scores that were not divided by the root of the width, or multiplied by it."""
    return _sharper(program, draw.log(6, 80))


def _sharper(program: Program, factor: float) -> Injection | None:
    site = program.sites()
    if not site.attention or program.family not in {"transformer_lm", "seq2seq"}:
        return None
    names = [n.rpartition(".")[0] for ps in site.attention.values() for n in ps]
    return Injection(
        broken=program.configured(sharpness=factor),
        layers=tuple(dict.fromkeys([*site.attention, *names])),
        symptom="loss_plateau",
        strength=f"scores x {factor:g}",
    )


def _norm_names(program: Program, kinds: tuple[type, ...]) -> list[str]:
    if not program.sites().norms:
        return []
    with torch.random.fork_rng(devices=[]):
        model = program.model(**program.config)
    return [n for n in program.sites().norms if isinstance(layer_of(model, n), kinds)]


def _tiny_batches(program: Program, draw: Draw) -> Injection | None:
    names = _norm_names(program, BATCH_NORMS)
    if not names:
        return None
    size = draw.pick([2, 2, 3])
    return Injection(
        broken=program.but(size=size),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"batches of {size}",
    )


def _huge_eps(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if not site.norms:
        return None
    chosen, eps = _chosen(draw, site.norms), draw.log(1e5, 1e8)
    edit = partial(_set, names=chosen, values={"eps": eps})
    return Injection(
        broken=program.plus(dress=edit),
        layers=tuple(chosen),
        symptom="loss_plateau",
        strength=f"eps {eps:g}",
    )


def _set(model: nn.Module, names: list[str], values: dict[str, float]) -> None:
    for name in names:
        for key, value in values.items():
            setattr(layer_of(model, name), key, value)


def _norm_momentum(program: Program, draw: Draw) -> Injection | None:
    names = _norm_names(program, BATCH_NORMS)
    if not names:
        return None
    momentum = draw.pick([1e-4, 1e-5])
    return Injection(
        broken=program.plus(dress=partial(_set, names=names, values={"momentum": momentum})),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"running statistics with momentum {momentum}",
    )


def _one_feature(program: Program, draw: Draw) -> Injection | None:
    site = program.sites()
    if not site.norms:
        return None
    chosen = _chosen(draw, site.norms)
    return Injection(
        broken=program.plus(dress=partial(_normalise_alone, names=chosen)),
        layers=tuple(chosen),
        symptom="loss_plateau",
        strength="normalises each number alone",
    )


def _normalise_alone(model: nn.Module, names: list[str]) -> None:
    """Take the statistics over a dimension of size one, as after a wrong reshape."""
    for name in names:
        layer = layer_of(model, name)
        layer.forward = partial(_alone, layer)


def _alone(layer: nn.Module, x: Tensor) -> Tensor:
    z = nn.functional.layer_norm(x.unsqueeze(-1), (1,)).squeeze(-1)
    shape = (1, -1, *[1] * (x.dim() - 2)) if not isinstance(layer, nn.LayerNorm) else (-1,)
    return z * layer.weight.view(shape) + layer.bias.view(shape)  # type: ignore[union-attr, operator]


def _dropout(program: Program, draw: Draw) -> Injection | None:
    if "drop" not in program.config or program.family == "siamese":
        return None
    p = draw.pick([0.93, 0.95, 0.97, 0.98, 0.99])
    broken = program.configured(drop=p)
    return Injection(
        broken=broken,
        layers=tuple(broken.sites().drops),
        symptom="loss_plateau",
        strength=f"dropout {p}",
    )


FAULTS = (
    Fault(mechanism="saturated_activations", variant="bias", inject=_saturated_bias, weight=2),
    Fault(mechanism="saturated_activations", variant="gain", inject=_saturated_gain),
    Fault(mechanism="dead_units", variant="bias", inject=_dead, weight=2),
    Fault(mechanism="dead_units", variant="norm", inject=_dead_norm),
    Fault(mechanism="dead_units", variant="shift", inject=_dead_shift),
    Fault(mechanism="attention_entropy_collapse", variant="weights", inject=_attention, weight=2),
    Fault(mechanism="attention_entropy_collapse", variant="scale", inject=_sharp, weight=2),
    Fault(mechanism="attention_entropy_collapse", variant="unscaled", inject=_unscaled, weight=0),
    Fault(mechanism="attention_entropy_collapse", variant="queries", inject=_queries, weight=0),
    Fault(mechanism="degenerate_normalization", variant="tiny_batch", inject=_tiny_batches),
    Fault(mechanism="degenerate_normalization", variant="eps", inject=_huge_eps),
    Fault(mechanism="degenerate_normalization", variant="momentum", inject=_norm_momentum),
    Fault(mechanism="degenerate_normalization", variant="one_feature", inject=_one_feature),
    Fault(mechanism="excessive_dropout", variant="all", inject=_dropout),
)
