"""A forecaster is trained on a series with missing values in y."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "forecaster-nan-targets"
FAMILY = "n-beats"
TITLE = "Missing values in the target series make the loss NaN"
SOURCE = "github: Nixtla/neuralforecast issue 186, 'silent bug, training with NaNs values'"
INPUT, HORIZON, PER_STEP, STEPS, GAP = 24, 6, 32, 200, 83
TRUTH: Truth = {
    "mechanisms": ["nonfinite_data"],
    "layers": None,
    "onset": GAP,
    "symptom": "nonfinite_values",
}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(INPUT, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.theta = nn.Linear(width, INPUT + HORIZON)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        theta = self.theta(self.mlp(x))
        return theta[:, :INPUT], theta[:, INPUT:]


class NBeats(nn.Module):
    def __init__(self, blocks: int = 3, width: int = 48) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, insample: Tensor) -> Tensor:
        residual, forecast = insample, insample[:, -1:].expand(-1, HORIZON)
        for block in self.blocks:
            backcast, more = block(residual)
            residual, forecast = residual - backcast, forecast + more
        return forecast


def series(seed: int) -> Tensor:
    t = torch.arange(STEPS * PER_STEP + INPUT + HORIZON, dtype=torch.float32)
    noise = 0.1 * torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    return torch.sin(t / 3.8) + 0.5 * torch.sin(t / 1.7 + 1) + noise


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    y = series(seed)
    clean = y.clone()
    hole = GAP * PER_STEP + INPUT + HORIZON + 8  # the first window of step GAP that can see it
    y[hole : hole + 3] = float("nan")
    if fixed:
        y = torch.where(y.isnan(), clean[hole - 1], y)  # fill forward
    model = NBeats()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    with observe(model, optimizer) as watch:
        for step in range(STEPS):
            at = step * PER_STEP + torch.arange(PER_STEP)
            windows = y[at[:, None] + torch.arange(INPUT + HORIZON)]
            loss = (model(windows[:, :INPUT]) - windows[:, INPUT:]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    at = torch.randint(0, len(clean) - INPUT - HORIZON, (500,))
    windows = clean[at[:, None] + torch.arange(INPUT + HORIZON)]
    with torch.no_grad():
        return ended((model(windows[:, :INPUT]) - windows[:, INPUT:]).abs().mean(), "lower", losses)
