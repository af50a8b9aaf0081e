"""N-BEATS forecaster; HF-style linear warmup/decay whose total was counted with the old batch size and has no max(0, .): the rate goes negative."""

import math
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

ID = "nbeats-linear-decay-below-zero"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": [], "onset": (178, 188)}
LOOKBACK, HORIZON, EPOCHS = 48, 12, 10


def make_series(n, gen):
    t = torch.arange(LOOKBACK + HORIZON).float()
    u = lambda lo, hi: lo + (hi - lo) * torch.rand(n, 1, generator=gen)
    season = u(0.4, 1.2) * torch.sin(2 * math.pi * (t / 12 + u(0, 1)))
    weekly = u(0.0, 0.6) * torch.sin(2 * math.pi * (t / 7 + u(0, 1)))
    trend = u(-1.0, 1.0) * (t / 30 - 1)
    y = season + weekly + trend + 0.1 * torch.randn(n, len(t), generator=gen)
    return y[:, :LOOKBACK], y[:, LOOKBACK:]


class NBeatsBlock(nn.Module):
    def __init__(self, width=64, theta=16):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(LOOKBACK, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, theta),
        )
        self.backcast, self.forecast = nn.Linear(theta, LOOKBACK), nn.Linear(theta, HORIZON)

    def forward(self, x):
        th = self.fc(x)
        return x - self.backcast(th), self.forecast(th)


class NBeats(nn.Module):
    def __init__(self, blocks=4):
        super().__init__()
        self.blocks = nn.ModuleList([NBeatsBlock() for _ in range(blocks)])

    def forward(self, x):
        total = 0
        for block in self.blocks:
            x, f = block(x)
            total = total + f
        return total


def get_linear_schedule_with_warmup(optimizer, warmup, total):
    def lr_lambda(step):
        if step < warmup:
            return (step + 1) / warmup
        return (total - step) / (total - warmup)

    return LambdaLR(optimizer, lr_lambda)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    x, y = make_series(1152, gen)
    xv, yv = make_series(512, gen)
    loader = DataLoader(
        TensorDataset(x, y), batch_size=32, shuffle=True, generator=gen, drop_last=True
    )
    # 1152 / 32 = 36 steps an epoch; with the former batch size of 64 there were 18
    total = len(loader) * EPOCHS if fixed else len(x) // 64 * EPOCHS
    model = NBeats()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=1e-3
    )
    scheduler = get_linear_schedule_with_warmup(optimizer, 15, total)
    curve = []
    with observe(model, optimizer):
        for epoch in range(EPOCHS):
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(xb), yb)
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())
    with torch.no_grad():
        mse = nn.functional.mse_loss(model(xv), yv).item()
    return {"metric": min(mse, 1e6) if mse == mse else 1e6, "better": "lower", "curve": curve}
