"""Unusual but healthy loops and data."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.faults.data import has_floats
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import change_inputs
from benchmarks.corpus.task import IGNORED, Batch

__all__ = ["ODDITIES"]


def _alone(program: Program) -> bool:
    return len(program.turns) == 1


def accumulation(program: Program, draw: Draw) -> Program | None:
    """Add up several backward passes before each step."""
    if not _alone(program) or program.task.kind == "pairs":
        return None
    count = draw.pick([2, 4])
    return program.but(accumulate=count, size=max(program.size // count, 8), steps=program.steps)


def clip_one(program: Program, draw: Draw) -> Program | None:
    """Clip the norm at one, as language models do."""
    return program.but(clip=("norm", draw.pick([0.5, 1.0])), steps=int(program.steps * 1.2))


def clip_under_adam(program: Program, draw: Draw) -> Program | None:
    """Clip every step under Adam, which does not notice."""
    if program.optimizer not in {"adam", "adamw"}:
        return None
    return program.but(clip=("norm", draw.pick([0.05, 0.1])))


def gradient_values(program: Program, _draw: Draw) -> Program | None:
    """Clip single values generously."""
    return program.but(clip=("value", 1.0))


def ema(program: Program, draw: Draw) -> Program | None:
    """Keep an averaged copy."""
    if draw.chance(0.5):
        return program.plus(after_step=_swa)
    return program.plus(after_step=_mean_copy)


def _mean_copy(model: nn.Module, _optimizer: Any, _step: int, memo: dict[str, Any]) -> None:
    if "copy" not in memo:
        memo["copy"] = [p.detach().clone() for p in model.parameters()]
        return
    with torch.no_grad():
        for mean, now in zip(memo["copy"], model.parameters(), strict=True):
            mean.lerp_(now, 0.05)


def _swa(model: nn.Module, _optimizer: Any, step: int, memo: dict[str, Any]) -> None:
    if step % 5 == 0:
        with torch.no_grad():
            if "swa" not in memo:
                memo["swa"] = AveragedModel(_bare(model))
            for mean, now in zip(memo["swa"].module.parameters(), model.parameters(), strict=True):
                mean.lerp_(now, 0.1)


def _bare(model: nn.Module) -> nn.Module:
    """Return a small stand-in with the same parameters, cheaper to average than a model full of hooks."""
    bare = nn.Module()
    for i, parameter in enumerate(model.parameters()):
        bare.register_parameter(f"p{i}", nn.Parameter(parameter.detach().clone()))
    return bare


def evaluates(program: Program, draw: Draw) -> Program | None:
    """Evaluate every twenty steps inside the loop."""
    if program.task.kind == "field" or not _alone(program):
        return None
    every = draw.pick([10, 20, 25])
    inputs, target = program.task.test
    held = tuple(x[:64] for x in inputs), target[:64]
    forward = program.turns[0].forward

    def after(model: nn.Module, _optimizer: Any, step: int, _memo: dict[str, Any]) -> None:
        if step % every == every - 1:
            model.eval()
            with torch.no_grad():
                forward(model, held[0])
            model.train()

    return program.plus(after_step=after)


def gradient_noise(program: Program, _draw: Draw) -> Program | None:
    """Add a little noise to every gradient."""

    def before(model: nn.Module, _optimizer: Any, step: int, _memo: dict[str, Any]) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                size = 0.1 * parameter.grad.std(unbiased=False) / (1 + step) ** 0.5
                parameter.grad.add_(torch.randn_like(parameter.grad) * size)

    return program.plus(before_step=before)


def tiny_loss(program: Program, draw: Draw) -> Program | None:
    """Multiply the loss by a small number under an optimizer that does not care."""
    if program.optimizer not in {"adam", "adamw"} or not _alone(program):
        return None
    factor = draw.pick([1e-3, 1e-2])
    return program.but(weigh=lambda loss, _step: loss * factor, clip=None)


def large_loss(program: Program, draw: Draw) -> Program | None:
    """Sum instead of average under an optimizer that does not care."""
    if program.optimizer not in {"adam", "adamw"} or not _alone(program):
        return None
    factor = float(program.size * draw.pick([1, 4]))
    return program.but(weigh=lambda loss, _step: loss * factor, clip=None)


def grows_weight(program: Program, _draw: Draw) -> Program | None:
    """Raise the weight of the loss slowly under Adam, as annealed terms do."""
    if program.optimizer not in {"adam", "adamw"} or not _alone(program):
        return None
    half = program.steps / 2
    return program.but(weigh=lambda loss, step: loss * (0.3 + 0.7 * min(step / half, 1.0)))


def penalty(program: Program, draw: Draw) -> Program | None:
    """Add a mild penalty on the outputs."""
    if program.task.kind not in {"classes", "regression", "tokens", "nodes"}:
        return None
    weight = draw.pick([1e-3, 1e-4])
    return program.judged(lambda c: lambda o, y: c(o, y) + weight * o.square().mean())


def curriculum(program: Program, _draw: Draw) -> Program | None:
    """Start with weaker inputs."""
    if not has_floats(program) or program.task.kind in {
        "field",
        "cloud",
        "pairs",
        "reconstruction",
    }:
        return None
    half = program.steps / 2

    def feed(batch: Batch, step: int, _generator: torch.Generator) -> Batch:
        return change_inputs(batch, lambda x: x * (0.6 + 0.4 * min(step / half, 1.0)), every=False)

    return program.plus(feed=feed)


def augmentation(program: Program, draw: Draw) -> Program | None:
    """Add modest noise to inputs."""
    if not has_floats(program) or program.task.kind in {"field", "cloud"}:
        return None
    size = draw.pick([0.1, 0.2])

    def feed(batch: Batch, _step: int, generator: torch.Generator) -> Batch:
        return change_inputs(batch, lambda x: x + size * torch.randn(x.shape, generator=generator))

    return program.plus(feed=feed)


def padding(program: Program, _draw: Draw) -> Program | None:
    """End rows early and leave their targets out."""
    if program.task.kind != "tokens" or program.family == "seq2seq":
        return None

    def feed(batch: Batch, _step: int, generator: torch.Generator) -> Batch:
        (ids,), target = batch
        length = ids.shape[1]
        ends = torch.randint(length // 2, length + 1, (ids.shape[0], 1), generator=generator)
        kept = torch.arange(length) < ends
        return (ids * kept,), torch.where(kept, target, torch.tensor(IGNORED))

    return program.plus(feed=feed)


def unit_range(program: Program, _draw: Draw) -> Program | None:
    """Feed inputs between zero and one, not centred."""
    floats = has_floats(program) and program.task.kind in {"classes", "binary"}
    if not floats or program.family == "finetune":
        return None
    x = program.task.train[0][0]
    low, span = x.min().item(), (x.max() - x.min()).item()
    if span > 12:
        return None

    def change(batch: Batch) -> Batch:
        return change_inputs(batch, lambda z: (z - low) / span, every=False)

    return program.plus(pipeline=change).but(steps=int(program.steps * 1.5))


def constant_column(program: Program, _draw: Draw) -> Program | None:
    """Leave a column that never changes, and one of zeros."""
    x = program.task.train[0][0]
    if not has_floats(program) or x.dim() != 2 or x.shape[1] < 8 or program.task.kind == "pairs":
        return None

    def change(batch: Batch) -> Batch:
        def fill(z: Tensor) -> Tensor:
            z = z.clone()
            z[:, 0], z[:, -1] = 1.0, 0.0
            return z

        return change_inputs(batch, fill, every=False)

    return program.plus(pipeline=change) if program.task.kind in {"classes", "regression"} else None


def imbalance(program: Program, draw: Draw) -> Program | None:
    """Keep few samples of half of the classes."""
    if program.task.kind != "classes" or program.task.train[1].numel() < 900:
        return None
    inputs, target = program.task.train
    g = torch.Generator().manual_seed(draw.whole(0, 999))
    keep = (target % 2 == 0) | (torch.rand(target.shape, generator=g) < 0.3)
    task = copy.copy(program.task)
    object.__setattr__(task, "train", (tuple(x[keep] for x in inputs), target[keep]))
    return program.but(task=task)


def some_noise(program: Program, draw: Draw) -> Program | None:
    """Learn from regression targets with honest noise on them."""
    if program.task.kind != "regression":
        return None
    size = draw.pick([0.2, 0.4])

    def feed(batch: Batch, _step: int, generator: torch.Generator) -> Batch:
        inputs, target = batch
        return inputs, target + size * torch.randn(target.shape, generator=generator)

    return program.plus(feed=feed)


def keeps_zeros(program: Program, _draw: Draw) -> Program | None:
    """Clear gradients to zeros instead of None, twice per step."""

    def after(_model: nn.Module, optimizer: Any, _step: int, _memo: dict[str, Any]) -> None:
        optimizer.zero_grad(set_to_none=False)

    return program.plus(after_step=after).but(tidy="end") if _alone(program) else None


def bf16_autocast(program: Program, _draw: Draw) -> Program | None:
    """Compute in bfloat16."""
    if program.rnn_op or "derivatives" in program.notes or not _alone(program):
        return None
    return program.but(precision="amp-bf16")


def fp16_scaled(program: Program, draw: Draw) -> Program | None:
    """Compute in float16 with a fixed, sensible loss scale."""
    slow = {"unet", "resnet", "cnn_norm", "cnn_plain", "bag_text", "finetune", "forecaster"}
    if program.rnn_op or "derivatives" in program.notes or not _alone(program):
        return None
    if program.family in slow:
        return None
    return program.but(precision="amp-fp16", loss_scale=float(draw.pick([64, 256])), unscale=True)


def full_batch(program: Program, _draw: Draw) -> Program | None:
    """Show all of a small data set at every step."""
    small = program.task.train[1].shape[0] < 500 and program.family in {
        "mlp_relu",
        "mlp_smooth",
        "tabular",
    }
    return program.but(size=10_000) if small else None


def anchored(program: Program, _draw: Draw) -> Program | None:
    """Switch to evaluation mode for good when there is nothing that differs."""
    site = program.sites()
    if site.norms or site.drops or program.family in {"vae", "gan"}:
        return None
    return program.but(stays_in_eval=True)


ODDITIES = {
    "accumulation": accumulation,
    "clip-one": clip_one,
    "clip-under-adam": clip_under_adam,
    "clip-values": gradient_values,
    "ema": ema,
    "evaluation": evaluates,
    "gradient-noise": gradient_noise,
    "tiny-loss": tiny_loss,
    "large-loss": large_loss,
    "annealed-weight": grows_weight,
    "output-penalty": penalty,
    "curriculum": curriculum,
    "augmentation": augmentation,
    "padding": padding,
    "unit-range": unit_range,
    "constant-column": constant_column,
    "imbalance": imbalance,
    "noisy-targets": some_noise,
    "keeps-zeros": keeps_zeros,
    "bf16-autocast": bf16_autocast,
    "fp16-scaled": fp16_scaled,
    "full-batch": full_batch,
    "eval-mode": anchored,
}
