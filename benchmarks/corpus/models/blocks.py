"""Pieces that several architectures share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "activation", "functional", "initialise", "norm"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.05),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.05),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "softplus": F.softplus,
    "identity": lambda x: x,
}


def activation(name: str) -> nn.Module:
    """Return a nonlinearity as a module."""
    return ACTIVATIONS[name]()


def functional(name: str, x: Tensor) -> Tensor:
    """Apply a nonlinearity as a function."""
    return FUNCTIONS[name](x)


def norm(kind: str, width: int, dims: int = 2) -> nn.Module:
    """Return a normalization: ``batch``, ``group``, ``layer``, ``instance`` or ``none``."""
    if kind == "batch":
        return nn.BatchNorm2d(width) if dims == 2 else nn.BatchNorm1d(width)
    if kind == "group":
        return nn.GroupNorm(min(4, width), width)
    if kind == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    if kind == "layer":
        return nn.LayerNorm(width)
    return nn.Identity()


def initialise(model: nn.Module, scheme: str, act: str = "relu") -> None:
    """Give all linear and convolution weights a named scheme; ``default`` leaves them as PyTorch made them."""
    if scheme == "default":
        return
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            _weights(layer.weight, scheme, act)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _weights(weight: Tensor, scheme: str, act: str) -> None:
    gain = {"tanh": 5 / 3, "sigmoid": 1.0, "identity": 1.0}.get(act, math.sqrt(2.0))
    if scheme == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    elif scheme == "he-uniform":
        nn.init.kaiming_uniform_(weight, nonlinearity="relu")
    elif scheme == "xavier":
        nn.init.xavier_uniform_(weight, gain=1.0 if act == "tanh" else gain)
    elif scheme == "orthogonal":
        nn.init.orthogonal_(weight, gain=gain)
    elif scheme == "trunc":
        nn.init.trunc_normal_(weight, std=0.02)
