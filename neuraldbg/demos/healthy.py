"""Healthy programs that fool naive tools (mechanisms.md section 6): no diagnosis may accuse them."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.adversarial import GAN, LBFGS
from neuraldbg.demos.case import Case, Truth
from neuraldbg.demos.faults import AUTO, CELL, CNN, LSTM, MLP, RATE, RES, TABLE, TEXT
from neuraldbg.demos.loop import Batch, Recipe, as_case
from neuraldbg.demos.models import LowRank, Mlp, plain_mlp

__all__ = ["HEALTHY"]


def _healthy(slug: str, family: str, title: str, recipe: Recipe) -> Case:
    return as_case(f"healthy-{slug}", family, title, recipe, Truth(mechanisms=[]))


def _warm_up(optimizer: torch.optim.Optimizer, _fixed: bool) -> object:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 60))


def _cosine(optimizer: torch.optim.Optimizer, _fixed: bool) -> object:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)


def _restarts(optimizer: torch.optim.Optimizer, _fixed: bool) -> object:
    return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=60)


def _tiny_loss(o: Tensor, y: Tensor, _fixed: bool) -> Tensor:
    return F.cross_entropy(o, y) * 1e-6


def _clip_one(model: nn.Module, _step: int, _fixed: bool) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def _frozen(_fixed: bool) -> nn.Module:
    model = Mlp()
    model.encoder["fc1"].requires_grad_(requires_grad=False)
    return model


def _low_rank(_fixed: bool) -> nn.Module:
    model = Mlp()
    model.encoder["fc2"] = LowRank(model.encoder["fc2"])  # type: ignore[arg-type]
    model.encoder["fc3"] = LowRank(model.encoder["fc3"])  # type: ignore[arg-type]
    return model


class _Gated(nn.Module):
    """A residual branch that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)
        self.head = nn.Linear(64, 10)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(x + self.down(F.gelu(self.up(x))))


class _Tied(nn.Module):
    """An autoencoder whose decoder is the transpose of its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 64) / 8)
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(F.linear(x, self.weight)), self.weight.t(), self.bias)


def _pretrained(_fixed: bool) -> nn.Module:
    """Return a model that has been trained already."""
    model = Mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    from neuraldbg.demos.data import digits  # noqa: PLC0415 - needs scikit-learn

    x, y = digits()
    for step in range(80):
        rows = torch.arange(step * 20, step * 20 + 128) % y.numel()
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def _curriculum(batch: Batch, step: int, _fixed: bool) -> Batch:
    (x,), y = batch
    return ((x * (0.6 + 0.4 * min(step / 100, 1.0)),), y)


def _padded(batch: Batch, step: int, _fixed: bool) -> Batch:
    (ids,), y = batch
    ids, y = ids.clone(), y.clone()
    cut = 20 + (step * 7) % 12
    ids[:, cut:] = 0
    y[:, cut:] = -100
    return (ids,), y


class _Ema:
    """Keeps an averaged copy of the model, made while it is being watched."""

    def __init__(self) -> None:
        self.copy: nn.Module | None = None

    def __call__(self, model: nn.Module, step: int, _fixed: bool) -> None:
        if self.copy is None or step == 0:
            self.copy = copy.deepcopy(model)
        with torch.no_grad():
            for mean, now in zip(self.copy.parameters(), model.parameters(), strict=True):
                mean.lerp_(now, 0.1)


def _evaluates(model: nn.Module, step: int, _fixed: bool) -> None:
    if step % 20 == 0:
        model.eval()
        with torch.no_grad():
            model(torch.full((8, 64), 3.0))
        model.train()


HEALTHY: tuple[Case, ...] = (
    _healthy("mlp", "mlp", "an ordinary classifier with sparse ReLU units", MLP),
    _healthy("cnn", "cnn", "batch normalization and pooling", CNN),
    _healthy("resnet", "resnet", "in-place residual additions", RES),
    _healthy("lstm", "lstm", "saturating gates", LSTM),
    _healthy("rnn-cell", "rnn", "a loop over a cell", CELL),
    _healthy("transformer", "transformer", "a character model", TEXT),
    _healthy("autoencoder", "autoencoder", "a bottleneck", AUTO),
    _healthy("recommender", "recommender", "embedding rows that are rarely seen", RATE),
    _healthy("regression", "regression", "a noisy target", replace(TABLE, steps=300)),
    _healthy(
        "warm-up",
        "mlp",
        "a learning rate that starts near zero",
        replace(MLP, schedule=_warm_up),
    ),
    _healthy(
        "cosine-to-zero",
        "mlp",
        "a learning rate that ends at zero",
        replace(MLP, schedule=_cosine),
    ),
    _healthy(
        "warm-restarts",
        "mlp",
        "a learning rate that restarts",
        replace(MLP, schedule=_restarts),
    ),
    _healthy(
        "converged",
        "mlp",
        "a long run that has nothing left to learn",
        replace(MLP, steps=800),
    ),
    _healthy(
        "tiny-loss-scale",
        "mlp",
        "a loss multiplied by 1e-6",
        replace(MLP, loss=_tiny_loss),
    ),
    _healthy(
        "catapult",
        "mlp",
        "a large rate that spikes at first and then wins",
        replace(
            MLP,
            optimizer=lambda m, _: torch.optim.SGD(m.parameters(), lr=0.5),
            steps=300,
        ),
    ),
    _healthy("small-batch", "mlp", "batches of four", replace(MLP, size=4, steps=500)),
    _healthy("frozen-layer", "mlp", "a layer frozen on purpose", replace(MLP, model=_frozen)),
    _healthy(
        "low-rank",
        "mlp",
        "adapters that start at zero",
        replace(MLP, model=_low_rank, steps=300),
    ),
    _healthy(
        "pretrained",
        "mlp",
        "fine-tuning from good weights at a small rate",
        replace(
            MLP,
            model=_pretrained,
            optimizer=lambda m, _: torch.optim.Adam(m.parameters(), 3e-4),
        ),
    ),
    _healthy(
        "zero-init-residual",
        "mlp",
        "a branch that starts at zero",
        replace(MLP, model=lambda _: _Gated()),
    ),
    _healthy(
        "weight-tying",
        "autoencoder",
        "one matrix used twice",
        replace(AUTO, model=lambda _: _Tied(), steps=300),
    ),
    _healthy(
        "accumulation",
        "mlp",
        "four backward passes per step",
        replace(MLP, accumulate=4),
    ),
    _healthy(
        "clipping",
        "transformer",
        "clipping at a norm of 1",
        replace(TEXT, before_step=_clip_one),
    ),
    _healthy(
        "weight-decay-with-norm",
        "cnn",
        "weights that shrink in front of a normalization",
        replace(
            CNN,
            optimizer=lambda m, _: torch.optim.AdamW(m.parameters(), lr=3e-3, weight_decay=0.5),
        ),
    ),
    _healthy(
        "ema-copy",
        "mlp",
        "an averaged copy of the model",
        replace(MLP, after_step=_Ema()),
    ),
    _healthy(
        "evaluation",
        "cnn",
        "evaluation inside the loop",
        replace(CNN, after_step=_evaluates),
    ),
    _healthy("curriculum", "mlp", "inputs that grow slowly", replace(MLP, batch=_curriculum)),
    _healthy(
        "padding",
        "transformer",
        "padded rows and ignored labels",
        replace(TEXT, batch=_padded),
    ),
    _healthy(
        "gelu-mlp",
        "mlp",
        "a smooth nonlinearity",
        replace(MLP, model=lambda _: plain_mlp(nn.GELU)),
    ),
    GAN,
    LBFGS,
)
