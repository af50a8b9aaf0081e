"""Losses: ``criterion(output, target)``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "binary",
    "cross_entropy",
    "elbo",
    "huber",
    "info_nce",
    "mean_absolute",
    "mse",
    "noise_error",
    "physics",
    "real_and_fake",
    "smooth_cross_entropy",
    "triplet",
]


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Compare class scores (last dimension, or second for images) with classes."""
    return F.cross_entropy(*flat(output, target))


def smooth_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Compare class scores with classes, with a tenth of the weight spread over all."""
    return F.cross_entropy(*flat(output, target), label_smoothing=0.1)


def flat(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores as ``(n, classes)`` and classes as ``(n,)``; images keep their shape."""
    if output.dim() == 3:
        return output.reshape(-1, output.shape[-1]), target.reshape(-1)
    return output, target


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error."""
    return F.mse_loss(output, target)


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Return the smooth absolute error."""
    return F.smooth_l1_loss(output, target)


def mean_absolute(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error."""
    return F.l1_loss(output, target)


def binary(output: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy of logits."""
    return F.binary_cross_entropy_with_logits(output, target)


def elbo(output: tuple[Tensor, Tensor, Tensor], target: Tensor, *, beta: float) -> Tensor:
    """Return squared error per sample plus ``beta`` times the divergence of the code."""
    recon, mu, logvar = output
    divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()
    return 0.5 * (recon - target).square().sum(1).mean() + beta * divergence


def info_nce(output: tuple[Tensor, Tensor], _target: Tensor, *, temperature: float) -> Tensor:
    """Return the contrastive loss of two views: the partner against the rest of the batch."""
    a, b = output
    logits = a @ b.t() / temperature
    labels = torch.arange(a.shape[0])
    return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels))


def triplet(output: tuple[Tensor, Tensor], _target: Tensor, *, margin: float) -> Tensor:
    """Return the triplet loss with the next sample of the batch as the negative."""
    a, b = output
    return F.triplet_margin_loss(a, b, b.roll(1, 0), margin=margin)


def noise_error(output: tuple[Tensor, Tensor], _target: Tensor) -> Tensor:
    """Return how far the predicted noise is from the noise."""
    guess, noise = output
    return F.mse_loss(guess, noise)


def physics(output: tuple[Tensor, Tensor, Tensor], _target: Tensor, *, weight: float) -> Tensor:
    """Return the error of the law (scaled residual) plus that of the boundary."""
    residual, edge, wanted = output
    return residual.square().mean() + weight * (edge - wanted).square().mean()


def real_and_fake(output: tuple[Tensor, Tensor], _target: Tensor, *, smooth: float) -> Tensor:
    """Return the discriminator's loss."""
    real, fake = output
    return F.binary_cross_entropy_with_logits(
        real, torch.full_like(real, 1.0 - smooth)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def fooled(output: Tensor, _target: Tensor) -> Tensor:
    """Return the generator's loss."""
    return F.binary_cross_entropy_with_logits(output, torch.ones_like(output))


INSTANCE_NOISE = 0.3

# -- forwards that are more than model(*inputs) ---------------------------------------------------


def judge_forward(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return what the discriminator says of real and of generated points."""
    (real,) = inputs
    with torch.no_grad():
        fake = model.sample(real.shape[0])  # type: ignore[operator]
    # A little noise on both sides keeps the game from being won outright.
    real, fake = (x + INSTANCE_NOISE * torch.randn_like(x) for x in (real, fake))
    return model.discriminator(real), model.discriminator(fake)  # type: ignore[operator]


def fool_forward(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return what the discriminator says of generated points."""
    fake = model.sample(inputs[0].shape[0])  # type: ignore[operator]
    return model.discriminator(fake + INSTANCE_NOISE * torch.randn_like(fake))  # type: ignore[operator]


def game_samples(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return generated and real points."""
    return model.sample(inputs[0].shape[0]), inputs[0]  # type: ignore[operator]


def diffusion_forward(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Add noise at random times and ask the model for it."""
    (x,) = inputs
    t = torch.rand(x.shape[0])
    noise = torch.randn(x.shape)
    level = t[:, None]
    noisy = x * (1 - level) + noise * level
    dtype = x.dtype
    return model(noisy.to(dtype), t.to(dtype)), noise


def diffusion_samples(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Walk from noise to data in 20 steps and return the samples beside real points."""
    (real,) = inputs
    x = torch.randn(real.shape)
    steps = 20
    for i in range(steps, 0, -1):
        t = torch.full((x.shape[0],), min(i / steps, 0.98))
        level, following = t[:, None], torch.full((x.shape[0], 1), (i - 1) / steps)
        noise = model(x, t)
        clean = ((x - level * noise) / (1 - level)).clamp(-4, 4)
        x = clean * (1 - following) + noise * following
    return x, real


def law_forward(
    model: nn.Module, inputs: tuple[Tensor, ...], *, name: str, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scaled residual of the law, the values at the boundary and what they should be."""
    x = inputs[0].detach().requires_grad_()
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (d2u,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    if name == "oscillator":
        start = torch.zeros(1, 1, dtype=x.dtype).requires_grad_()
        value = model(start)
        (speed,) = torch.autograd.grad(value.sum(), start, create_graph=True)
        edge = torch.cat([value.flatten(), speed.flatten()])
        return (d2u + 16 * u) * scale, edge, torch.tensor([1.0, 0.0])
    ends = torch.tensor([[-1.0], [1.0]], dtype=x.dtype)
    force = -(torch.pi**2) * torch.sin(torch.pi * x)
    return (d2u - force) * scale, model(ends).flatten(), torch.zeros(2)


def named(function: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """Fix the keyword arguments of a criterion or forward."""
    return partial(function, **values)
