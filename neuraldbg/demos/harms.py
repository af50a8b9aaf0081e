"""What the faults of the demo cases do to a model, a batch, an optimizer or a loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.loop import Batch
from neuraldbg.demos.models import plain_mlp

__all__ = [
    "broadcast",
    "broken",
    "clip",
    "constant",
    "dead_bias",
    "decaying",
    "dropped",
    "fast_decay",
    "half_inputs",
    "half_weights",
    "head_only",
    "jump_at",
    "nan_sample",
    "raw_inputs",
    "raw_targets",
    "root_loss",
    "scaled",
    "scaled_all",
    "scaled_batches",
    "sharp_attention",
    "shuffled_labels",
    "softmax_twice",
]


def broken(
    build: Callable[[], nn.Module], harm: Callable[[nn.Module], None]
) -> Callable[[bool], nn.Module]:
    """Return a model factory that harms the model unless it is the healthy twin."""

    def make(fixed: bool) -> nn.Module:
        model = build()
        if not fixed:
            with torch.no_grad():
                harm(model)
        return model

    return make


def dead_bias(model: nn.Module) -> None:
    """Push every unit of the second hidden layer below zero."""
    model.get_submodule("encoder.fc2").bias.fill_(-12.0)  # type: ignore[operator, union-attr]


def scaled(name: str, factor: float) -> Callable[[nn.Module], None]:
    """Multiply the weight of one layer."""

    def harm(model: nn.Module) -> None:
        model.get_submodule(name).weight.mul_(factor)  # type: ignore[operator, union-attr]

    return harm


def scaled_all(factor: float) -> Callable[[nn.Module], None]:
    """Multiply every weight matrix."""

    def harm(model: nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(factor)

    return harm


def constant(model: nn.Module) -> None:
    """Make all units of a layer alike."""
    for parameter in model.parameters():
        parameter.fill_(0.05 if parameter.dim() >= 2 else 0.0)


def nan_sample(batch: Batch, step: int, fixed: bool) -> Batch:
    """Put one NaN into one sample at step 70."""
    (x,), y = batch
    if step != 70 or fixed:
        return batch
    x = x.clone()
    x[3, 5] = math.nan
    return (x,), y


def scaled_batches(batch: Batch, step: int, fixed: bool) -> Batch:
    """Multiply three batches by sixty."""
    (x,), y = batch
    return batch if fixed or step not in {100, 101, 102} else ((x * 60.0,), y)


def raw_inputs(batch: Batch, _step: int, fixed: bool) -> Batch:
    """Undo the standardisation of pixels."""
    (x,), y = batch
    return batch if fixed else ((x * 90.0 + 120.0,), y)


def raw_targets(batch: Batch, _step: int, fixed: bool) -> Batch:
    """Undo the standardisation of targets."""
    inputs, y = batch
    return (inputs, y) if fixed else (inputs, y * 80.0 + 150.0)


def shuffled_labels(batch: Batch, _step: int, fixed: bool) -> Batch:
    """Shift labels against their inputs."""
    inputs, y = batch
    return (inputs, y) if fixed else (inputs, y.roll(7, 0))


def clip(value: float) -> Callable[[nn.Module, int, bool], None]:
    """Clip the gradient norm at a value far too small."""

    def apply(model: nn.Module, _step: int, fixed: bool) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 5.0 if fixed else value)

    return apply


def jump_at(step: int, factor: float) -> Callable[[torch.optim.Optimizer, bool], object]:
    """Multiply the learning rate at one step."""
    return lambda optimizer, fixed: torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: 1.0 if fixed or t < step else factor
    )


def fast_decay(optimizer: torch.optim.Optimizer, fixed: bool) -> object:
    """Halve the learning rate every four steps instead of every epoch."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=10_000 if fixed else 4, gamma=0.5)


def softmax_twice(o: Tensor, y: Tensor, fixed: bool) -> Tensor:
    """Give probabilities to cross_entropy."""
    return F.cross_entropy(o if fixed else o.softmax(-1), y)


def broadcast(o: Tensor, y: Tensor, fixed: bool) -> Tensor:
    """Compare ``[B]`` with ``[B, 1]``."""
    return F.mse_loss(o, y) if fixed else F.mse_loss(o.squeeze(1), y)


def root_loss(o: Tensor, y: Tensor, fixed: bool) -> Tensor:
    """Take a square root that meets zero."""
    square = (o - y).square()
    masked = square * (square > 1e-4)
    return (masked + (1e-6 if fixed else 0.0)).sqrt().mean()


def head_only(model: nn.Module, fixed: bool) -> torch.optim.Optimizer:
    """Hand the optimizer the head only."""
    head = list(model.head.parameters())  # type: ignore[operator, union-attr]
    return torch.optim.Adam(list(model.parameters()) if fixed else head, lr=3e-3)


def decaying(model: nn.Module, fixed: bool) -> torch.optim.Optimizer:
    """Use a weight decay a thousand times too strong."""
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01 if fixed else 12.0)


def half_weights(model: nn.Module, fixed: bool) -> torch.optim.Optimizer:
    """Keep the weights in bfloat16."""
    if not fixed:
        model.to(torch.bfloat16)
    return torch.optim.Adam(model.parameters(), lr=1e-4)


def half_inputs(batch: Batch, _step: int, fixed: bool) -> Batch:
    """Cast the inputs to bfloat16."""
    (x,), y = batch
    return batch if fixed else ((x.bfloat16(),), y)


def sharp_attention(model: nn.Module) -> None:
    """Make queries and keys of the first layer forty times too large."""
    for name, parameter in model.named_parameters():
        if name.startswith("layers.0.attn") and (".q.weight" in name or ".k.weight" in name):
            parameter.mul_(40.0)


def dropped(fixed: bool) -> nn.Module:
    """Drop 97 % of a hidden layer."""
    model = plain_mlp(nn.ReLU, 3)
    model.insert(4, nn.Dropout(0.1 if fixed else 0.97))
    return model
