"""Healthy: a GRU forecasts the electricity load with a Gaussian likelihood head, DeepAR style, and cosine warm restarts.
The loss goes below zero and keeps falling, because a narrow density exceeds one, and it jumps a little after each restart;
'my loss is negative, what is wrong' is a weekly forum question and nothing is wrong."""

import numpy as np
import torch
from torch import nn

ID = "c_load_forecast"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def load_series(rng, hours=24 * 160):
    t = np.arange(hours)
    day = np.sin(2 * np.pi * t / 24 + 0.4) + 0.5 * np.sin(4 * np.pi * t / 24)
    week = 1 - 0.35 * ((t // 24) % 7 >= 5)
    drift = np.zeros(hours)
    for k in range(1, hours):
        drift[k] = 0.97 * drift[k - 1] + 0.02 * rng.normal()
    return 900 + 210 * (day * week + drift + 0.03 * rng.normal(size=hours)), t


class DeepAR(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.rnn = nn.GRU(5, hidden, batch_first=True)
        self.mu = nn.Linear(hidden, 1)
        self.pre_sigma = nn.Linear(hidden, 1)

    def forward(self, x):
        h, _ = self.rnn(x)
        return self.mu(h).squeeze(-1), nn.functional.softplus(self.pre_sigma(h)).squeeze(-1) + 1e-3


def windows(y, t, starts, length=48):
    k = starts[:, None] + np.arange(length)[None]
    cov = np.stack(
        [
            y[k],
            np.sin(2 * np.pi * t[k] / 24),
            np.cos(2 * np.pi * t[k] / 24),
            ((t[k] // 24) % 7 >= 5).astype(float),
            (((t[k] + 1) // 24) % 7 >= 5).astype(float),
        ],
        -1,
    )
    return torch.tensor(cov, dtype=torch.float32), torch.tensor(y[k + 1], dtype=torch.float32)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 20)
    series, t = load_series(rng)
    split = 24 * 130
    y = (series - series[:split].mean()) / series[:split].std()
    model = DeepAR()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=150, eta_min=1e-4
    )
    nll = lambda mu, sigma, target: -torch.distributions.Normal(mu, sigma).log_prob(target).mean()

    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(600):
            x, target = windows(y, t, rng.integers(0, split - 50, 16))
            mu, sigma = model(x)
            loss = nll(mu[:, 8:], sigma[:, 8:], target[:, 8:])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())

    model.eval()
    x, target = windows(y, t, np.arange(split, len(y) - 50, 24))
    with torch.no_grad():
        mu, _ = model(x)
    error = (mu - target)[:, 24:].abs().mean()
    naive = (x[:, 24:, 0] - target[:, 24:]).abs().mean()
    return {"metric": (error / naive).item(), "better": "lower", "curve": curve}
