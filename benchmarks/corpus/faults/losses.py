"""Losses that do not fit the output, and operations evaluated where they are not defined."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.corpus.criteria import flat
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import change_inputs, patch_input, patch_output
from benchmarks.corpus.task import Batch

__all__ = ["FAULTS"]

CLASSES = {"classes", "tokens", "pixels", "nodes"}
NUMBERS = {"regression", "reconstruction"}
MISMATCH = "loss_output_mismatch"
SINGULAR = "numerical_singularity"


def _softmax_twice(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in CLASSES:
        return None
    dim = 1 if program.task.kind == "pixels" else -1
    if draw.chance(0.5):
        edit = partial(_head_output, name=program.sites().head, change=lambda o: o.softmax(dim))
        broken = program.plus(dress=edit)
    else:
        broken = program.judged(lambda c: lambda o, y: c(o.softmax(dim), y))
    return Injection(broken=broken, symptom="loss_plateau", strength="softmax before cross-entropy")


def _head_output(model: nn.Module, name: str, change: Any) -> None:
    patch_output(model, name, change)


def _nll(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind not in CLASSES:
        return None
    broken = program.judged(lambda _: lambda o, y: F.nll_loss(*flat(o, y)))
    return Injection(broken=broken, symptom="loss_divergence", strength="nll_loss of raw scores")


def _sigmoid_twice(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind != "binary":
        return None
    broken = program.judged(lambda c: lambda o, y: c(o.sigmoid(), y))
    return Injection(broken=broken, symptom="loss_plateau", strength="sigmoid before BCE of logits")


def _broadcast(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind != "regression" or program.task.outputs != 1:
        return None
    broken = program.judged(lambda _: lambda o, y: (o - y.squeeze(1)).square().mean())
    return Injection(broken=broken, symptom="loss_plateau", strength="[B, 1] against [B]")


def _bounded(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in CLASSES | NUMBERS:
        return None
    name = program.sites().head
    bounded = [torch.sigmoid] if program.task.kind in CLASSES else [F.relu, torch.sigmoid]
    change = draw.pick(bounded)
    return Injection(
        broken=program.plus(dress=partial(_head_output, name=name, change=change)),
        symptom="loss_plateau",
        strength=f"{change.__name__} on the output",
    )


def _sum(program: Program, _draw: Draw) -> Injection | None:
    if program.adaptive or program.task.kind not in CLASSES | NUMBERS:
        return None
    if program.task.kind in CLASSES:
        broken = program.judged(
            lambda _: lambda o, y: F.cross_entropy(*flat(o, y), reduction="sum")
        )
    else:
        broken = program.judged(lambda _: lambda o, y: F.mse_loss(o, y, reduction="sum"))
    return Injection(
        broken=broken,
        accept=("learning_rate_too_high",),
        symptom="optimizer_instability",
        strength="summed instead of averaged",
    )


def _wrong_axis(program: Program, _draw: Draw) -> Injection | None:
    """``view`` where ``transpose`` was meant, so that scores of one place are compared with another's."""
    if program.task.kind not in {"tokens", "nodes"}:
        return None
    broken = program.judged(
        lambda _: lambda o, y: F.cross_entropy(o.reshape(o.shape[0], o.shape[2], o.shape[1]), y)
    )
    return Injection(broken=broken, symptom="loss_plateau", strength="classes on the wrong axis")


def _batch_axis(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind != "classes":
        return None
    broken = program.judged(lambda _: lambda o, y: F.nll_loss(o.log_softmax(0), y))
    return Injection(broken=broken, symptom="loss_plateau", strength="log_softmax over the batch")


# -- singular --------------------------------------------------------------------------------------


def _root(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in NUMBERS or program.family == "vae":
        return None
    slack = draw.pick([0.02, 0.05, 0.1])

    def loss(o: Tensor, y: Tensor, eps: float) -> Tensor:
        error = (o - y).abs()
        return ((error * (error > slack)) + eps).sqrt().mean()

    return Injection(
        broken=program.judged(lambda _: partial(loss, eps=0.0)),
        twin=program.judged(lambda _: partial(loss, eps=1e-4)),
        onset=None,
        symptom="nonfinite_values",
        strength="square root of zero in the loss",
    )


def _class_means(o: Tensor, y: Tensor, *, eps: float, classes: int) -> Tensor:
    """Average within each class first, so that rare classes count as much as common ones."""
    losses = F.cross_entropy(o, y, reduction="none")
    member = F.one_hot(y, classes).to(losses.dtype)
    return ((losses[:, None] * member).sum(0) / (member.sum(0) + eps)).mean()


def _balanced(program: Program, _draw: Draw) -> Injection | None:
    classes = program.task.outputs
    if program.task.kind != "classes" or program.size > 4 * classes:
        return None
    return Injection(
        broken=program.judged(lambda _: partial(_class_means, eps=0.0, classes=classes)),
        twin=program.judged(lambda _: partial(_class_means, eps=1e-3, classes=classes)),
        onset=None,
        symptom="nonfinite_values",
        strength="mean over a class that is absent from the batch",
    )


def _own_log(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in CLASSES - {"pixels"}:
        return None
    floor = draw.pick([0.02, 0.05, 0.1])

    def loss(o: Tensor, y: Tensor, eps: float) -> Tensor:
        scores, labels = flat(o, y)
        p = scores.softmax(-1).gather(1, labels[:, None])
        return -(p * (p > floor) + eps).log().mean()

    return Injection(
        broken=program.judged(lambda _: partial(loss, eps=0.0)),
        twin=program.judged(lambda _: partial(loss, eps=1e-3)),
        onset=None,
        symptom="nonfinite_values",
        strength=f"logarithm of probabilities cut at {floor}",
    )


def _blank_row(batch: Batch, step: int, generator: torch.Generator, *, at: int) -> Batch:
    if step < at:
        return batch

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[torch.randint(0, x.shape[0], (1,), generator=generator)] = 0.0
        return x

    return change_inputs(batch, change, every=False)


def _unit_length(x: Tensor, *, eps: float) -> Tensor:
    flat_x = x.flatten(1)
    size = flat_x.square().sum(1, keepdim=True).sqrt()
    return (flat_x / (size + eps)).view_as(x) * flat_x.shape[1] ** 0.5


def _blank_sample(program: Program, draw: Draw) -> Injection | None:
    """Normalise each sample by its length in the first layer; an empty sample arrives at some step."""
    site = program.sites()
    floats = program.task.train[0][0].is_floating_point()
    if not floats or program.family in {"gan", "diffusion", "physics", "siamese", "graph", "vae"}:
        return None
    if site.recurrent or len(program.turns) > 1:
        return None
    first, at = site.body[0], draw.whole(0, int(program.steps * 0.7))
    if program.family == "transformer_post":
        first = "patch_embed" if "patch_embed" in site.body else "embed"
    fed = program.plus(feed=partial(_blank_row, at=at))
    return Injection(
        broken=fed.plus(dress=_patch_first(first, 0.0)),
        twin=fed.plus(dress=_patch_first(first, 1e-3)),
        layers=(first,),
        onset=at,
        symptom="nonfinite_values",
        strength="an empty sample divided by its length",
    )


def _patch_first(name: str, eps: float) -> Any:
    return partial(_dress_input, name=name, change=partial(_unit_length, eps=eps))


def _dress_input(model: nn.Module, name: str, change: Any) -> None:
    patch_input(model, name, change)


def _log_features(x: Tensor, *, shift: float) -> Tensor:
    return (x + shift).log()


def _log_layer(program: Program, _draw: Draw) -> Injection | None:
    """Compress rectified features with a logarithm, which is infinite where a unit is silent."""
    site = program.sites()
    fits = {"mlp_relu", "tabular", "cnn_plain", "bag_text", "siamese", "recommender", "graph"}
    if program.family not in fits or site.act != "relu" or program.config.get("pooled"):
        return None
    return Injection(
        broken=program.plus(
            dress=partial(_dress_input, name=site.head, change=partial(_log_features, shift=0.0))
        ),
        twin=program.plus(
            dress=partial(_dress_input, name=site.head, change=partial(_log_features, shift=1.0))
        ),
        layers=(site.head,),
        symptom="nonfinite_values",
        strength="logarithm of silent units",
    )


def _size_penalty(model: nn.Module, *, name: str, eps: float) -> Tensor:
    sizes = [(p.square().sum() + eps).sqrt() for p in model.get_submodule(name).parameters()]
    return 1e-4 * torch.stack(sizes).sum()


def _penalty(program: Program, draw: Draw) -> Injection | None:
    """Penalise the length of every parameter of a layer, one of which starts at zero."""
    site = program.sites()
    if program.family in {"finetune", "gan"}:
        return None
    name = site.head if program.family == "resnet" else draw.pick([*site.body, site.head])
    zeroed = program.plus(dress=partial(_zero_bias, name=name))
    return Injection(
        broken=zeroed.but(penalty=partial(_size_penalty, name=name, eps=0.0)),
        twin=zeroed.but(penalty=partial(_size_penalty, name=name, eps=1e-8)),
        layers=(name,),
        onset=(0, 1),
        symptom="nonfinite_values",
        strength="length of a bias that is zero",
    )


def _zero_bias(model: nn.Module, *, name: str) -> None:
    for key, parameter in model.get_submodule(name).named_parameters():
        if "bias" in key:
            parameter.zero_()


def _distances(a: Tensor, eps: float) -> Tensor:
    return ((a[:, None] - a[None, :]).square().sum(-1) + eps).sqrt()


def _own_distances(program: Program, _draw: Draw) -> Injection | None:
    """Take all distances within a batch, also of every sample to itself."""
    if program.family != "siamese":
        return None

    def loss(output: tuple[Tensor, Tensor], _y: Tensor, eps: float) -> Tensor:
        a, b = output
        apart = F.relu(1.0 - _distances(a, eps)).mean()
        return apart + (a - b).square().sum(1).mean()

    return Injection(
        broken=program.judged(lambda _: partial(loss, eps=0.0)),
        twin=program.judged(lambda _: partial(loss, eps=1e-6)),
        onset=(0, 1),
        symptom="nonfinite_values",
        strength="distance of a sample to itself",
    )


def _own_spread(program: Program, _draw: Draw) -> Injection | None:
    """Let the spread of a VAE's code be rectified and take its logarithm."""
    if program.family != "vae":
        return None

    def wrap(criterion: Any, eps: float) -> Any:
        def loss(output: tuple[Tensor, Tensor, Tensor], y: Tensor) -> Tensor:
            recon, mu, raw = output
            spread = (raw + 1.0) * (raw > -1.0)
            return criterion((recon, mu, (spread + eps).log()), y)

        return loss

    return Injection(
        broken=program.judged(partial(wrap, eps=0.0)),
        twin=program.judged(partial(wrap, eps=1e-2)),
        onset=None,
        symptom="nonfinite_values",
        strength="logarithm of a spread that can be zero",
    )


def _rooted_law(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind != "field":
        return None
    slack = draw.pick([0.02, 0.05])

    def loss(output: tuple[Tensor, Tensor, Tensor], _y: Tensor, eps: float) -> Tensor:
        residual, edge, wanted = output
        size = residual.abs() * (residual.abs() > slack)
        return (size.square() + eps).sqrt().mean() + 2 * (edge - wanted).square().mean()

    return Injection(
        broken=program.judged(lambda _: partial(loss, eps=0.0)),
        twin=program.judged(lambda _: partial(loss, eps=1e-4)),
        onset=None,
        symptom="nonfinite_values",
        strength="norm of a residual that is exactly zero",
    )


FAULTS = (
    Fault(mechanism=MISMATCH, variant="softmax_twice", inject=_softmax_twice, weight=2),
    Fault(mechanism=MISMATCH, variant="nll", inject=_nll),
    Fault(mechanism=MISMATCH, variant="sigmoid_twice", inject=_sigmoid_twice, weight=2),
    Fault(mechanism=MISMATCH, variant="broadcast", inject=_broadcast, weight=2),
    Fault(mechanism=MISMATCH, variant="bounded", inject=_bounded),
    Fault(mechanism=MISMATCH, variant="sum", inject=_sum),
    Fault(mechanism=MISMATCH, variant="wrong_axis", inject=_wrong_axis),
    Fault(mechanism=MISMATCH, variant="batch_axis", inject=_batch_axis),
    Fault(mechanism=SINGULAR, variant="root", inject=_root),
    Fault(mechanism=SINGULAR, variant="class_means", inject=_balanced),
    Fault(mechanism=SINGULAR, variant="log", inject=_own_log),
    Fault(mechanism=SINGULAR, variant="blank_sample", inject=_blank_sample),
    Fault(mechanism=SINGULAR, variant="log_layer", inject=_log_layer),
    Fault(mechanism=SINGULAR, variant="penalty", inject=_penalty),
    Fault(mechanism=SINGULAR, variant="distances", inject=_own_distances, weight=2),
    Fault(mechanism=SINGULAR, variant="spread", inject=_own_spread, weight=2),
    Fault(mechanism=SINGULAR, variant="law", inject=_rooted_law, weight=2),
)
