"""Gradients that are kept, parameters that nobody moves, moments that remember too long."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.faults.rates import by_layer
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program, Sites, layer_of
from benchmarks.corpus.surgery import parameters_of, patch_input

__all__ = ["FAULTS"]

STILL = "parameters_not_updated"


def _never_cleared(program: Program, _draw: Draw) -> Injection:
    return Injection(
        broken=program.but(clears=lambda _step: False, clip=None),
        onset=(0, 2),
        symptom="optimizer_instability",
        strength="no zero_grad",
    )


def _cleared_at_first(program: Program, draw: Draw) -> Injection:
    at = draw.whole(program.steps // 5, program.steps // 2)
    return Injection(
        broken=program.but(clears=lambda step: step < at, clip=None),
        onset=(at, at + 2),
        symptom="optimizer_instability",
        strength=f"no zero_grad from step {at}",
    )


def _cleared_by_epoch(program: Program, draw: Draw) -> Injection:
    every = draw.whole(20, 60)
    return Injection(
        broken=program.but(clears=lambda step: step % every == 0, clip=None, tidy="start"),
        onset=(0, 2),
        symptom="optimizer_instability",
        strength=f"zero_grad every {every} steps",
    )


def _simple(program: Program) -> bool:
    return len(program.turns) == 1 and program.owns is None and program.family != "finetune"


def _below_head(site: Sites) -> list[str]:
    return [*site.embeddings, *site.body, *site.norms]


def _part(draw: Draw, site: Sites) -> list[str]:
    """Pick what is left out: everything below the head, or the first half of it."""
    names = _below_head(site)
    return names if draw.chance(0.65) or len(names) < 3 else names[: (len(names) + 1) // 2]


def _all_but(names: list[str]) -> Callable[[nn.Module], list[nn.Parameter]]:
    def owns(model: nn.Module) -> list[nn.Parameter]:
        left = {id(p) for p in parameters_of(model, names)}
        return [p for p in model.parameters() if id(p) not in left]

    return owns


def _not_owned(program: Program, draw: Draw) -> Injection | None:
    if not _simple(program):
        return None
    names = _part(draw, program.sites())
    return Injection(
        broken=program.but(owns=_all_but(names)),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"{len(names)} layers are not in the optimizer",
    )


def _freeze(model: nn.Module, names: list[str]) -> None:
    for parameter in parameters_of(model, names):
        parameter.requires_grad = False


def _frozen(program: Program, draw: Draw) -> Injection | None:
    if not _simple(program) or "derivatives" in program.notes:
        return None
    names = _part(draw, program.sites())
    return Injection(
        broken=program.plus(dress=partial(_freeze, names=names)),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"{len(names)} layers do not require gradients",
    )


def _detached(program: Program, _draw: Draw) -> Injection | None:
    if not _simple(program) or "derivatives" in program.notes:
        return None
    site = program.sites()
    names = _below_head(site)
    if program.family == "recommender" and program.config["dot"]:
        names = site.body

    def dress(model: nn.Module) -> None:
        patch_input(model, site.head, lambda x: x.detach())

    return Injection(
        broken=program.plus(dress=dress),
        layers=tuple(names),
        symptom="loss_plateau",
        strength="features detached before the head",
    )


def _no_rate(program: Program, draw: Draw) -> Injection | None:
    if not _simple(program):
        return None
    names = _part(draw, program.sites())
    return Injection(
        broken=program.but(owns=by_layer(names, lr=0.0)),
        layers=tuple(names),
        symptom="loss_plateau",
        strength=f"{len(names)} layers in a group with lr 0",
    )


def _renew(model: nn.Module, _optimizer: torch.optim.Optimizer, names: list[str]) -> None:
    """Put fresh layers where the optimizer still holds the old ones."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        fresh = copy.deepcopy(layer_of(model, name))
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                with torch.enable_grad():
                    module.reset_parameters()
        owner = model.get_submodule(parent)
        owner._modules[leaf] = fresh  # noqa: SLF001 - replaces a child of any container


def _replaced(program: Program, _draw: Draw) -> Injection | None:
    styles = {"cnn_plain", "cnn_norm", "rnn", "lstm", "gru", "transformer_lm", "bag_text", "graph",
              "physics", "mixer", "unet", "resnet", "forecaster", "seq2seq", "diffusion"}  # fmt: skip
    if not _simple(program) or program.family not in styles or program.config.get("tied"):
        return None
    names = program.sites().body
    return Injection(
        broken=program.plus(late=partial(_renew, names=list(names))),
        layers=tuple(names),
        symptom="loss_plateau",
        strength="layers replaced after the optimizer was built",
    )


def _skip(_model: nn.Module, _optimizer: Any, step: int, memo: dict[str, Any], *, at: int) -> None:
    memo["skip"] = step >= at


def _never_steps(program: Program, draw: Draw) -> Injection | None:
    if program.schedule is not None:
        return None
    at = draw.whole(2, program.steps // 8) if draw.chance(0.5) else 0
    return Injection(
        broken=program.plus(before_step=partial(_skip, at=at)),
        onset=at,
        symptom="loss_plateau",
        strength=f"no optimizer step from step {at}",
    )


def _copy_parameters(model: nn.Module) -> list[nn.Parameter]:
    return list(copy.deepcopy(model).parameters())


def _other_model(program: Program, _draw: Draw) -> Injection | None:
    if not _simple(program) or program.family in {"mlp_relu", "mlp_smooth", "tabular"}:
        return None
    return Injection(
        broken=program.but(owns=_copy_parameters),
        symptom="loss_plateau",
        strength="the optimizer holds a copy of the model",
    )


# -- moments that remember too long ----------------------------------------------------------------


CHEAP = {
    "mlp_relu", "mlp_smooth", "tabular", "bag_text", "recommender", "siamese", "autoencoder", "vae",
    "deep_residual", "forecaster", "graph",
}  # fmt: skip


def _swells(program: Program, draw: Draw) -> Injection | None:
    """Let gradients be small for long, so that a slow second moment knows nothing else."""
    if program.optimizer not in {"adam", "adamw"} or program.family not in CHEAP:
        return None
    steps = draw.whole(400, 550)
    at = steps - draw.whole(5, 12)
    factor = draw.log(1e-6, 1e-4)

    def weigh(loss: Tensor, step: int) -> Tensor:
        return loss * (factor if step < at else 1.0)

    weighted = program.but(
        weigh=weigh, clip=None, schedule=None, schedule_name="none", steps=steps, lr=2 * program.lr
    ).with_options(eps=1e-12)
    return Injection(
        broken=weighted.with_options(betas=(0.9, 0.9999)),
        twin=weighted.with_options(betas=(0.9, 0.9)),
        onset=at,
        symptom="loss_spike",
        strength=f"beta2 0.9999 and a loss {1 / factor:g} times larger from step {at}",
    )


def _shrinks(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer not in {"adam", "adamw", "rmsprop"} or len(program.turns) > 1:
        return None
    at = draw.whole(4, max(program.steps // 10, 6))
    factor = draw.log(300, 10_000)

    def weigh(loss: Tensor, step: int) -> Tensor:
        return loss * (factor if step < at else 1.0)

    slow = {"alpha": 0.9999} if program.optimizer == "rmsprop" else {"betas": (0.9, 0.9999)}
    # The twin keeps the long memory and has nothing large to remember. A short memory would not do: it takes
    # hundreds of steps to forget a square a million times too large, most of a run.
    calm = program.but(clip=None).with_options(**slow)
    return Injection(
        broken=calm.but(weigh=weigh),
        twin=calm,
        onset=at,
        symptom="loss_plateau",
        strength=f"beta2 0.9999 and a loss {factor:g} times smaller from step {at}",
    )


FAULTS = (
    Fault(mechanism="gradients_not_cleared", variant="never", inject=_never_cleared, weight=3),
    Fault(mechanism="gradients_not_cleared", variant="later", inject=_cleared_at_first),
    Fault(mechanism="gradients_not_cleared", variant="by_epoch", inject=_cleared_by_epoch),
    Fault(mechanism=STILL, variant="not_owned", inject=_not_owned, weight=2),
    Fault(mechanism=STILL, variant="frozen", inject=_frozen),
    Fault(mechanism=STILL, variant="detached", inject=_detached),
    Fault(mechanism=STILL, variant="no_rate", inject=_no_rate),
    Fault(mechanism=STILL, variant="replaced", inject=_replaced),
    Fault(mechanism=STILL, variant="never_steps", inject=_never_steps),
    Fault(mechanism=STILL, variant="other_model", inject=_other_model),
    Fault(mechanism="stale_second_moment", variant="swells", inject=_swells),
    Fault(mechanism="stale_second_moment", variant="shrinks", inject=_shrinks, weight=2),
)
