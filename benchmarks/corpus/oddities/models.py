"""Unusual but healthy models: frozen, adapted, tied, zero at first, sparse, hard to please."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from benchmarks.corpus import criteria
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.program import Program, dressed, layer_of
from benchmarks.corpus.surgery import parameters_of, scale
from benchmarks.corpus.tasks import tables

__all__ = ["ODDITIES"]


def _freeze(model: nn.Module, names: list[str]) -> None:
    for parameter in parameters_of(model, names):
        parameter.requires_grad = False


def frozen_layer(program: Program, _draw: Draw) -> Program | None:
    """Freeze the first layer of several on purpose, by requires_grad."""
    site = program.sites()
    if program.family in {"finetune", "gan", "physics"} or len(site.body) < 3 or site.recurrent:
        return None
    return program.plus(dress=partial(_freeze, names=site.body[:1])).but(
        steps=int(program.steps * 1.2)
    )


def frozen_embedding(program: Program, _draw: Draw) -> Program | None:
    """Leave embeddings as they are."""
    site = program.sites()
    if (
        not site.embeddings
        or program.family in {"recommender", "bag_text"}
        or program.config.get("tied")
    ):
        return None
    return program.plus(dress=partial(_freeze, names=site.embeddings)).but(
        steps=int(program.steps * 1.3)
    )


def adapters(program: Program, draw: Draw) -> Program | None:
    """Fine-tune low-rank adapters."""
    if program.family != "finetune":
        return None
    return program.configured(mode="lora", style="sequential", rank=draw.pick([1, 2, 4]))


def linear_probe(program: Program, _draw: Draw) -> Program | None:
    """Fine-tune the head alone."""
    return program.configured(mode="head") if program.family == "finetune" else None


def pretrained(program: Program, _draw: Draw) -> Program | None:
    """Start from weights that have learned the task for a while, at a small rate."""
    if program.task.kind not in {"classes", "regression", "tokens", "reconstruction", "nodes"}:
        return None
    if program.family == "finetune" or program.precision != "float32":
        return None
    dress = partial(_learn_first, program=program)
    return program.plus(dress=dress).but(lr=program.lr / 4, steps=max(program.steps // 2, 70))


def _learn_first(model: nn.Module, program: Program) -> None:
    inputs, target = program.task.train
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    count, size = target.shape[0], min(64, target.shape[0])
    criterion = program.turns[0].criterion
    with torch.enable_grad():
        for step in range(60):
            rows = torch.arange(step * 37, step * 37 + size) % count
            optimizer.zero_grad()
            criterion(model(*(x[rows] for x in inputs)), target[rows]).backward()
            optimizer.step()
        optimizer.zero_grad()


def zero_branches(program: Program, _draw: Draw) -> Program | None:
    """Start residual branches at zero."""
    if program.family == "deep_residual":
        return program.configured(zero=True, scale=1.0)
    if program.family == "resnet":
        return program.configured(zero=True)
    if program.family in {"transformer_lm", "mixer"}:
        names = [n for n in program.sites().body if n.endswith(("out_proj", "mlp.2", "mix.2"))]
        return program.plus(dress=dressed(scale, names, 0.0))
    return None


def zero_head(program: Program, _draw: Draw) -> Program | None:
    """Start the last layer at zero, so that the first answer is the same for all."""
    if program.family in {"gan", "vae", "siamese", "physics"} or program.config.get("tied"):
        return None
    return program.plus(dress=partial(_zero, name=program.sites().head))


def _zero(model: nn.Module, name: str) -> None:
    for parameter in layer_of(model, name).parameters():
        parameter.zero_()


def tied(program: Program, _draw: Draw) -> Program | None:
    """Use the embedding as the last layer, too."""
    if program.family == "transformer_lm" or "tied" in program.config:
        return program.configured(tied=True)
    if program.family in {"lstm", "gru"} and program.task.kind == "tokens":
        return program.configured(tied=True)
    return None


def half_dropout(program: Program, _draw: Draw) -> Program | None:
    """Drop half of the units."""
    wide = program.config.get("width", 0) >= 32
    if "drop" not in program.config or not wide or program.family == "siamese":
        return None
    return program.configured(drop=0.5).but(steps=int(program.steps * 1.3))


def decay_with_norm(program: Program, draw: Draw) -> Program | None:
    """Decay weights in front of normalizations strongly."""
    if program.family not in {"cnn_norm", "resnet", "unet", "mixer"} or not program.sites().norms:
        return None
    lr = min(program.lr, 5e-3) if program.adaptive else 3e-3
    return program.but(optimizer="adamw", lr=lr, options={"weight_decay": draw.pick([0.3, 0.6])})


def sharp_heads(program: Program, draw: Draw) -> Program | None:
    """Let attention scores be sharper than usual from the start."""
    if program.family not in {"transformer_lm", "seq2seq"}:
        return None
    return program.configured(sharpness=draw.pick([1.5, 2.0, 3.0]))


def sparse_units(program: Program, draw: Draw) -> Program | None:
    """Start with biases somewhat below zero, so that units fire rarely."""
    site = program.sites()
    if site.act != "relu" or not site.hidden or program.family in {"finetune", "physics"}:
        return None
    low = draw.pick([0.1, 0.2, 0.3])
    return program.plus(dress=partial(_lower, names=site.hidden, low=low))


def _lower(model: nn.Module, names: list[str], low: float) -> None:
    for name in names:
        bias = layer_of(model, name).bias
        if bias is not None:
            bias.sub_(low)


def hard_task(program: Program, _draw: Draw) -> Program | None:
    """Learn a task whose best possible loss is far from zero."""
    if program.family not in {"mlp_relu", "mlp_smooth", "deep_residual"}:
        return None
    task = tables.class_table("noisy")
    turns = tuple(replace(t, criterion=criteria.cross_entropy) for t in program.turns)
    changed = program.but(task=task, turns=turns)
    return changed.configured(inputs=task.shape[0], outputs=task.outputs)


def hard_numbers(program: Program, _draw: Draw) -> Program | None:
    """Learn patients' progression, of which half cannot be known."""
    if program.family != "tabular":
        return None
    task = tables.number_table("diabetes")
    return program.but(task=task).configured(inputs=task.shape[0])


def label_smoothing(program: Program, _draw: Draw) -> Program | None:
    """Spread a tenth of every label."""
    if program.task.kind not in {"classes", "tokens", "pixels", "nodes"}:
        return None
    return program.judged(lambda _: criteria.smooth_cross_entropy)


def class_weights(program: Program, draw: Draw) -> Program | None:
    """Weigh classes a little differently."""
    if program.task.kind not in {"classes", "pixels"}:
        return None
    weight = torch.tensor([draw.uniform(0.6, 1.6) for _ in range(program.task.outputs)])
    return program.judged(lambda _: lambda o, y: nn.functional.cross_entropy(o, y, weight=weight))


def log_probabilities(program: Program, _draw: Draw) -> Program | None:
    """Take the logarithm of the softmax first and then ``nll_loss``: the same thing in two steps."""
    if program.task.kind != "classes":
        return None
    return program.judged(lambda _: lambda o, y: nn.functional.nll_loss(o.log_softmax(-1), y))


def double_softmax_log(program: Program, _draw: Draw) -> Program | None:
    """Give log-probabilities to cross-entropy, which changes nothing."""
    if program.task.kind != "classes":
        return None
    return program.judged(lambda c: lambda o, y: c(o.log_softmax(-1), y))


def unused_part(program: Program, _draw: Draw) -> Program | None:
    """Keep a head from an older version that nothing uses."""
    if len(program.turns) > 1 or program.family == "finetune":
        return None
    return program.plus(dress=_spare_head)


def _spare_head(model: nn.Module) -> None:
    model.add_module("aux_head", nn.Linear(16, 4))


def no_bias(program: Program, _draw: Draw) -> Program | None:
    """Leave hidden layers without biases."""
    site = program.sites()
    fits = {"mlp_relu", "mlp_smooth", "tabular", "siamese", "autoencoder"}
    if program.family not in fits:
        return None
    return program.plus(dress=partial(_no_bias, names=site.hidden))


def _no_bias(model: nn.Module, names: list[str]) -> None:
    for name in names:
        layer_of(model, name).register_parameter("bias", None)


def weight_norm(program: Program, _draw: Draw) -> Program | None:
    """Split hidden weights into direction and length."""
    site = program.sites()
    fits = {"mlp_relu", "mlp_smooth", "tabular", "siamese", "cnn_plain", "recommender"}
    if program.family not in fits or not site.hidden or program.precision != "float32":
        return None
    return program.plus(dress=partial(_weight_norm, names=site.hidden[:2]))


def _weight_norm(model: nn.Module, names: list[str]) -> None:
    for name in names:
        with torch.enable_grad():
            nn.utils.parametrizations.weight_norm(layer_of(model, name))


def smooth_unit(program: Program, draw: Draw) -> Program | None:
    """Use a nonlinearity that is rare for the family."""
    fits = {
        "mlp_relu",
        "cnn_plain",
        "cnn_norm",
        "tabular",
        "recommender",
        "siamese",
        "graph",
        "mixer",
    }
    if program.family not in fits:
        return None
    return program.configured(act=draw.pick(["elu", "silu", "softplus", "gelu"]))


ODDITIES = {
    "frozen-layer": frozen_layer,
    "frozen-embedding": frozen_embedding,
    "adapters": adapters,
    "linear-probe": linear_probe,
    "pretrained": pretrained,
    "zero-branches": zero_branches,
    "zero-head": zero_head,
    "tied": tied,
    "half-dropout": half_dropout,
    "decay-with-norm": decay_with_norm,
    "sharp-heads": sharp_heads,
    "sparse-units": sparse_units,
    "hard-task": hard_task,
    "hard-numbers": hard_numbers,
    "label-smoothing": label_smoothing,
    "class-weights": class_weights,
    "log-probabilities": log_probabilities,
    "log-twice": double_softmax_log,
    "unused-part": unused_part,
    "no-bias": no_bias,
    "weight-norm": weight_norm,
    "rare-nonlinearity": smooth_unit,
}
