"""Multi-step load forecasting with a GRU, SGD and gradient accumulation. The config clips the global norm at 0.01 (copied from a run that
summed nothing and used Adam); the usual norm is around 1, so every step has the same tiny length."""

import math
from dataclasses import dataclass
import torch
import torch.nn as nn

ID = "b_gru_forecast_clip_value"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": (0, 0)}


@dataclass
class Config:
    hidden: int = 32
    context: int = 36
    horizon: int = 6
    lr: float = 0.1
    momentum: float = 0.9
    accumulate: int = 2
    micro_batch: int = 32
    updates: int = 300
    max_norm: float = 0.01


class Forecaster(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gru = nn.GRU(3, cfg.hidden, batch_first=True)
        self.proj = nn.Sequential(
            nn.Linear(cfg.hidden, cfg.hidden), nn.Tanh(), nn.Linear(cfg.hidden, cfg.horizon)
        )

    def forward(self, x):
        _, h = self.gru(x)
        return self.proj(h[-1])


def load_curve(n, g):
    t = torch.arange(n).float()
    day = torch.sin(2 * math.pi * t / 24) + 0.5 * torch.sin(2 * math.pi * t / 12 + 1)
    week = 0.5 * torch.sign(torch.sin(2 * math.pi * t / 168))
    ar = torch.zeros(n)
    eps = 0.15 * torch.randn(n, generator=g)
    for i in range(1, n):
        ar[i] = 0.9 * ar[i - 1] + eps[i]
    y = day * (1 + 0.4 * week) + week + ar
    y = (y - y.mean()) / y.std()
    return torch.stack([y, torch.sin(2 * math.pi * t / 24), torch.cos(2 * math.pi * t / 24)], 1)


class Windows:
    def __init__(self, series, cfg, g):
        self.s, self.c, self.h, self.g = series, cfg.context, cfg.horizon, g

    def draw(self, n):
        starts = torch.randint(0, len(self.s) - self.c - self.h, (n,), generator=self.g)
        x = torch.stack([self.s[i : i + self.c] for i in starts])
        y = torch.stack([self.s[i + self.c : i + self.c + self.h, 0] for i in starts])
        return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    cfg = Config(max_norm=1.0) if fixed else Config()
    g = torch.Generator().manual_seed(seed + 2)
    series = load_curve(4000, g)
    tr, va = Windows(series[:3200], cfg, g), Windows(series[3200:], cfg, g)
    model = Forecaster(cfg)
    opt = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=cfg.momentum)
    curve = []
    with observe(model, opt):
        for update in range(cfg.updates):
            opt.zero_grad()
            total = 0.0
            for _ in range(cfg.accumulate):
                x, y = tr.draw(cfg.micro_batch)
                loss = (model(x) - y).pow(2).mean() / cfg.accumulate
                loss.backward()
                total += loss.item()
            nn.utils.clip_grad_norm_(model.parameters(), cfg.max_norm)
            opt.step()
            curve.append(total)
    with torch.no_grad():
        x, y = va.draw(400)
        mse = (model(x) - y).pow(2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
