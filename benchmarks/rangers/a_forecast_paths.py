"""Healthy: a recurrent forecaster of trajectories with a Gaussian likelihood for each coming point. As asked in github.com/roggirg/AutoBots
issue 7 ('Why is nll loss a negative number?'), the loss goes far below zero and keeps falling with single jumps upwards when a density
has become very narrow; a density may exceed one, so that is normal.
"""

import math

import torch
from torch import nn

ID = "a_forecast_paths"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Forecaster(nn.Module):
    def __init__(self, hidden=40, ahead=5):
        super().__init__()
        self.ahead = ahead
        self.encoder = nn.GRU(2, hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(hidden, 64), nn.ReLU(), nn.Linear(64, ahead * 4))

    def forward(self, past):
        origin = past[:, -1:]
        _, h = self.encoder(past - origin)
        out = self.head(h[0]).view(-1, self.ahead, 4)
        return origin + out[..., :2], out[..., 2:].clamp(-9, 3)


def nll(mu, log_var, y):
    return 0.5 * (log_var + (y - mu) ** 2 / log_var.exp() + math.log(2 * math.pi)).sum(-1).mean()


def paths(n, gen):
    t = torch.arange(13.0)[None] * 0.2
    start, speed = torch.randn(n, 2, 1, generator=gen), 0.3 + 0.4 * torch.rand(n, 1, generator=gen)
    turn, head = torch.randn(n, 1, generator=gen) * 0.5, torch.rand(n, 1, generator=gen) * 6.283
    angle = head + turn * t
    xy = torch.stack(
        [(speed * angle.cos()).cumsum(1), (speed * angle.sin()).cumsum(1)], 2
    ) * 0.2 + start.transpose(1, 2)
    xy = xy + 0.005 * torch.randn(xy.shape, generator=gen)
    return xy[:, :8], xy[:, 8:]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 44)
    past, future = paths(3000, gen)
    pv, fv = paths(500, gen)
    model = Forecaster()
    optimizer = torch.optim.RAdam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)
    curve = []
    with observe(model, optimizer):
        for epoch in range(15):
            for idx in torch.randperm(len(past), generator=gen).split(64):
                optimizer.zero_grad()
                loss = nll(*model(past[idx]), future[idx])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                optimizer.step()
                curve.append(loss.item())
            schedule.step()
    with torch.no_grad():
        mu, _ = model(pv)
        naive = (pv[:, -1:] - fv).norm(dim=2).mean()
        skill = 1 - (mu - fv).norm(dim=2).mean() / naive
    return {"metric": skill.item(), "better": "higher", "curve": curve}
