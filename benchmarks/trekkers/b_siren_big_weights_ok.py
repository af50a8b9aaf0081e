"""Healthy: a SIREN (sine network, first layer w0=30, large weights on purpose) fits an image with its coordinates; the learning
rate of 1e-4 is small and right for it."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_siren_big_weights_ok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Sine(nn.Module):
    def __init__(self, i, o, w0=30.0, first=False):
        super().__init__()
        self.linear, self.w0 = nn.Linear(i, o), w0
        bound = 1 / i if first else math.sqrt(6 / i) / w0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(self.w0 * self.linear(x))


class Siren(nn.Module):
    def __init__(self, h=80):
        super().__init__()
        self.net = nn.Sequential(Sine(2, h, first=True), Sine(h, h), Sine(h, h), nn.Linear(h, 1))
        nn.init.uniform_(self.net[-1].weight, -math.sqrt(6 / h) / 30, math.sqrt(6 / h) / 30)

    def forward(self, x):
        return self.net(x)


def picture(xy):
    x, y = xy[:, 0], xy[:, 1]
    z = (
        torch.sin(9 * x + 3 * torch.sin(5 * y))
        + torch.cos(11 * x * y)
        + (x**2 + y**2 < 0.4).float()
    )
    return ((z - 0.5) / 1.2)[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    ax = torch.linspace(-1, 1, 64)
    grid = torch.cartesian_prod(ax, ax)
    perm = torch.randperm(len(grid), generator=g)
    tr, te = grid[perm[:3300]], grid[perm[3300:]]
    ytr, yte = picture(tr), picture(te)
    model = Siren()
    opt = torch.optim.Adam(model.parameters(), lr=1e-4)
    curve = []
    with observe(model, opt):
        for epoch in range(75):
            for idx in torch.randperm(len(tr), generator=g).split(220):
                loss = F.mse_loss(model(tr[idx]), ytr[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        return {
            "metric": (F.mse_loss(model(te), yte) / yte.var()).item(),
            "better": "lower",
            "curve": curve,
        }
