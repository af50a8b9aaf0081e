"""Healthy programs whose loop is not the ordinary one: two optimizers, and a closure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.case import Case, Observe, Outcome, Truth
from neuraldbg.demos.data import diabetes, digits
from neuraldbg.demos.models import plain_mlp

__all__ = ["GAN", "LBFGS"]


class _Game(nn.Module):
    """A generator and a discriminator in one container."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = plain_mlp(nn.ReLU, 2, 64, 16, 64)
        self.discriminator = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))


def _train_game(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, _ = digits()
    game = _Game()
    first = torch.optim.Adam(game.discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    second = torch.optim.Adam(game.generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    loss = ones.sum()
    with observe(game, first) as watch:
        for _ in range(200):
            real = x[torch.randint(0, x.shape[0], (64,))]
            fake = game.generator(torch.randn(64, 16))
            first.zero_grad()
            judged = game.discriminator(real), game.discriminator(fake.detach())
            loss = sum_of(judged, (ones, zeros))
            loss.backward()
            first.step()
            second.zero_grad()
            fooled = F.binary_cross_entropy_with_logits(game.discriminator(fake), ones)
            fooled.backward()
            second.step()
            watch.loss(loss.item())
    with torch.no_grad():
        gap = (game.generator(torch.randn(512, 16)).mean(0) - x.mean(0)).abs().mean().item()
    return Outcome(metric=gap, better="lower", loss=loss.item())


def sum_of(logits: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    """Return the discriminator's loss on real and generated samples."""
    real, fake = zip(logits, targets, strict=True)
    return F.binary_cross_entropy_with_logits(*real) + F.binary_cross_entropy_with_logits(*fake)


def _train_closure(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y = diabetes()
    model = plain_mlp(nn.Tanh, 1, 16, 10, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    with observe(model, optimizer) as watch:
        for _ in range(40):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = F.mse_loss(model(x), y)
                loss.backward()
                return loss

            watch.loss(optimizer.step(closure).item())
    with torch.no_grad():
        final = F.mse_loss(model(x), y).item()
    return Outcome(metric=final, better="lower", loss=final)


GAN = Case(
    id="healthy-gan",
    truth=Truth(mechanisms=[]),
    train=_train_game,
    family="gan",
    title="two optimizers that pull against one another",
)
LBFGS = Case(
    id="healthy-lbfgs",
    truth=Truth(mechanisms=[]),
    train=_train_closure,
    family="regression",
    title="a closure that is evaluated several times a step",
)
