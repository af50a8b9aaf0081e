"""A GRU forecasts the sea level at a harbour from two days of tide-gauge readings. The archive marks missing hours by -9999; the script drops
them everywhere but in one file that was added later, which fills a single batch. The squared error of that batch throws the weights so
far that the forecasts never come back."""

import math

import torch
from torch import nn

ID = "a_tide_gauge_gap"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (310, 311)}

HOURS = 36


def windows(n, gen):
    t0 = torch.rand(n, 1, generator=gen) * 24 * 300
    t = t0 + torch.arange(HOURS + 3.0)
    amp = 1 + 0.3 * torch.sin(2 * math.pi * t0 / (24 * 14.8))
    level = amp * torch.sin(2 * math.pi * t / 12.42) + 0.35 * torch.sin(
        2 * math.pi * t / 23.93 + 1.0
    )
    surge = torch.cumsum(0.05 * torch.randn(n, HOURS + 3, generator=gen), 1)
    level = level + surge
    return level[:, :HOURS].unsqueeze(-1).clone(), level[:, -1].clone()


class TideGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.hidden = nn.Linear(24, 24)
        self.level = nn.Linear(24, 1)

    def forward(self, x):
        h, _ = self.gru(x)
        return self.level(torch.relu(self.hidden(h[:, -1]))).squeeze(-1)


def batches(x, y, gen, steps, size, late_file):
    for k in range(steps):
        i = torch.randint(0, len(x), (size,), generator=gen)
        xb, yb = x[i].clone(), y[i].clone()
        if k == late_file:
            gone = torch.rand(xb.shape, generator=gen) < 0.4
            xb[gone] = -9999.0
            yb[torch.rand(size, generator=gen) < 0.4] = -9999.0
        yield xb, yb


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    x, y = windows(4000, gen)
    xt, yt = windows(800, gen)
    model = TideGRU()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for xb, yb in batches(x, y, gen, 900, 32, None if fixed else 310):
            loss = (model(xb) - yb).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(xt) - yt).square().mean().item()
    return {"metric": mse if math.isfinite(mse) else 1e12, "better": "lower", "curve": curve}
