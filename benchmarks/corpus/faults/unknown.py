"""Faults that no listed mechanism describes: the right answer is that the cause is unknown."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.corpus import criteria
from benchmarks.corpus.draw import Draw
from benchmarks.corpus.faults.data import has_floats
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import change_inputs, patch_input
from benchmarks.corpus.task import Batch

__all__ = ["FAULTS"]

UNKNOWN = "unknown_cause"


def _tiny(program: Program, draw: Draw) -> Injection | None:
    key = "code" if "code" in program.config else "width"
    if key not in program.config or program.sites().norms or program.sites().attention:
        return None
    if program.family in {"finetune", "gan", "recommender"}:
        return None
    return Injection(
        broken=program.configured(**{key: draw.pick([1, 2])}),
        symptom="loss_plateau",
        strength="one or two units where dozens are needed",
    )


def _linear(program: Program, _draw: Draw) -> Injection | None:
    needs = {"spirals", "rings", "waves", "friedman", "shapes", "teacher", "stripes"}
    if program.task.name not in needs or "act" not in program.config:
        return None
    if program.family not in {"mlp_relu", "mlp_smooth", "tabular", "cnn_plain"}:
        return None
    return Injection(
        broken=program.configured(act="identity"),
        symptom="loss_plateau",
        strength="no nonlinearity",
    )


def _ascent(program: Program, _draw: Draw) -> Injection:
    return Injection(
        broken=program.judged(lambda c: lambda o, y: -c(o, y)),
        symptom="loss_divergence",
        strength="the loss has the wrong sign",
    )


def _blanked(batch: Batch, *, columns: list[int]) -> Batch:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., columns] = 0.0
        return x

    return change_inputs(batch, change, every=False)


def _dropped(program: Program, draw: Draw) -> Injection | None:
    if not has_floats(program) or program.task.kind in {
        "field",
        "cloud",
        "pairs",
        "reconstruction",
    }:
        return None
    width = program.task.train[0][0].shape[-1]
    if width < 2:
        return None
    count = max(int(width * draw.pick([0.85, 0.95])), 1)
    columns = draw.some(list(range(width)), count)
    return Injection(
        broken=program.plus(pipeline=partial(_blanked, columns=columns)),
        symptom="loss_plateau",
        strength=f"{count} of {width} columns lost",
    )


def _strong_noise(batch: Batch, _step: int, generator: torch.Generator, *, size: float) -> Batch:
    return change_inputs(batch, lambda x: x + size * torch.randn(x.shape, generator=generator))


def _augmented(program: Program, draw: Draw) -> Injection | None:
    if not has_floats(program) or program.task.kind in {"field", "cloud", "reconstruction"}:
        return None
    size = draw.log(3, 8)
    return Injection(
        broken=program.plus(feed=partial(_strong_noise, size=size)),
        symptom="loss_plateau",
        strength=f"noise of {size:g} added to every input",
    )


def _wrong_way(batch: Batch, _step: int, generator: torch.Generator) -> Batch:
    def change(x: Tensor) -> Tensor:
        order = torch.argsort(torch.rand(x.shape[0], x[0].numel(), generator=generator), 1)
        return x.flatten(1).gather(1, order).view_as(x)

    return change_inputs(batch, change, every=False)


def _scrambled(program: Program, _draw: Draw) -> Injection | None:
    fits = program.task.kind in {"classes", "pixels"} and has_floats(program)
    if not fits:
        return None
    return Injection(
        broken=program.plus(feed=_wrong_way),
        symptom="loss_plateau",
        strength="every sample's features in another order",
    )


def _sorted_data(program: Program, _draw: Draw) -> Injection | None:
    if program.task.kind != "classes":
        return None
    inputs, target = program.task.train
    order = target.argsort(stable=True)
    task = replace(program.task, train=(tuple(x[order] for x in inputs), target[order]))
    return Injection(
        broken=program.but(task=task, sampling="ordered"),
        symptom="loss_spike",
        strength="data sorted by class",
    )


class _Stuck:
    """Hands out the first batch for ever; forgets it when a new run begins."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def __call__(self, batch: Batch, step: int, _generator: torch.Generator) -> Batch:
        if step == 0 or self.batch is None:
            inputs, target = batch
            self.batch = (tuple(x[:6] for x in inputs), target[:6])
        return self.batch


def _same_batch(program: Program, _draw: Draw) -> Injection | None:
    if program.sites().norms or program.task.kind == "cloud":
        return None
    return Injection(
        broken=program.plus(feed=_Stuck()),
        symptom="loss_plateau",
        strength="the loader hands out the same six samples for ever",
    )


def _leak(program: Program, _draw: Draw) -> Injection | None:
    if program.family != "transformer_lm":
        return None

    def predict(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        for block in model.h:  # type: ignore[union-attr]
            block.attn.causal = True
        return model(*inputs)

    return Injection(
        broken=program.configured(causal=False).but(predict=predict),
        symptom="loss_plateau",
        strength="no causal mask in training",
    )


def _no_places(program: Program, _draw: Draw) -> Injection | None:
    ordered = program.task.name.startswith(("rows", "order", "pitch", "recall"))
    if program.family != "transformer_post" or not ordered:
        return None
    return Injection(
        broken=program.configured(places=False),
        symptom="loss_plateau",
        strength="no positions",
    )


def _same_token(batch: Batch, _step: int, _generator: torch.Generator) -> Batch:
    inputs, _ = batch
    return inputs, inputs[0]


def _off_by_one(program: Program, _draw: Draw) -> Injection | None:
    if program.family not in {"transformer_lm", "lstm", "gru"} or program.task.kind != "tokens":
        return None
    return Injection(
        broken=program.plus(feed=_same_token),
        symptom="loss_plateau",
        strength="the target is the current character",
    )


def _heavy_code(program: Program, draw: Draw) -> Injection | None:
    if program.family != "vae":
        return None
    beta = draw.log(100, 5000)
    return Injection(
        broken=program.judged(lambda _: criteria.named(criteria.elbo, beta=beta)),
        symptom="loss_plateau",
        strength=f"divergence weighted with {beta:g}",
    )


def _no_boundary(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind != "field":
        return None
    weight = draw.pick([0.0, 1e-6])
    return Injection(
        broken=program.judged(lambda _: criteria.named(criteria.physics, weight=weight)),
        symptom="loss_plateau",
        strength="the boundary is not weighed",
    )


def _sparse_code(program: Program, draw: Draw) -> Injection | None:
    """Add a penalty on the output that outweighs the task."""
    if program.family == "vae":
        return None
    if program.task.kind not in {
        "classes",
        "regression",
        "tokens",
        "reconstruction",
        "nodes",
        "pixels",
    }:
        return None
    weight = draw.log(30, 1000)

    def wrap(criterion: Any) -> Any:
        return lambda o, y: criterion(o, y) + weight * o.abs().mean()

    return Injection(
        broken=program.judged(wrap),
        symptom="loss_plateau",
        strength=f"an output penalty weighted with {weight:g}",
    )


def _forgets_context(program: Program, _draw: Draw) -> Injection | None:
    if program.family == "seq2seq":
        return Injection(
            broken=program.configured(attends=False).plus(dress=_cut_state),
            symptom="loss_plateau",
            strength="the decoder never sees the source",
        )
    return None


def _cut_state(model: nn.Module) -> None:
    layer = model.get_submodule("decoder")
    original = layer.forward
    layer.forward = lambda x, _state=None: original(x)


def _one_feature_for_all(program: Program, _draw: Draw) -> Injection | None:
    """Average over the batch where the average over time or space was meant."""
    if (
        len(program.turns) > 1
        or "derivatives" in program.notes
        or program.family in {"siamese", "vae"}
    ):
        return None
    head = program.sites().head

    def dress(model: nn.Module) -> None:
        patch_input(model, head, lambda x: x.mean(0, keepdim=True).expand_as(x))

    return Injection(
        broken=program.plus(dress=dress),
        symptom="loss_plateau",
        strength="features averaged over the batch",
    )


FAULTS = (
    Fault(mechanism=UNKNOWN, variant="tiny", inject=_tiny),
    Fault(mechanism=UNKNOWN, variant="linear", inject=_linear, weight=2),
    Fault(mechanism=UNKNOWN, variant="ascent", inject=_ascent),
    Fault(mechanism=UNKNOWN, variant="dropped_columns", inject=_dropped),
    Fault(mechanism=UNKNOWN, variant="augmented", inject=_augmented),
    Fault(mechanism=UNKNOWN, variant="scrambled", inject=_scrambled),
    Fault(mechanism=UNKNOWN, variant="sorted", inject=_sorted_data),
    Fault(mechanism=UNKNOWN, variant="same_batch", inject=_same_batch),
    Fault(mechanism=UNKNOWN, variant="leak", inject=_leak, weight=2),
    Fault(mechanism=UNKNOWN, variant="no_places", inject=_no_places, weight=2),
    Fault(mechanism=UNKNOWN, variant="off_by_one", inject=_off_by_one, weight=2),
    Fault(mechanism=UNKNOWN, variant="heavy_code", inject=_heavy_code, weight=2),
    Fault(mechanism=UNKNOWN, variant="no_boundary", inject=_no_boundary, weight=2),
    Fault(mechanism=UNKNOWN, variant="penalty", inject=_sparse_code),
    Fault(mechanism=UNKNOWN, variant="no_context", inject=_forgets_context, weight=2),
    Fault(mechanism=UNKNOWN, variant="batch_mean", inject=_one_feature_for_all),
)
