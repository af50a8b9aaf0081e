"""A DeepONet learns the map from a surface heat-flux series to mixed-layer temperature as a function of depth and time.
The whole model (and so the optimizer's weights) was cast to bfloat16 to fit a bigger grid, and most Adam steps of 2e-4 round away.
`model.to(torch.bfloat16)` looks like the same thing as mixed precision."""

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_ocean_deeponet"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": 0}

M = 32


def fluxes(n, g):
    t = torch.linspace(0, 1, M)
    k = torch.arange(1, 5).float()
    c = torch.randn(n, 4, generator=g) / k
    ph = 6.28 * torch.rand(n, 4, generator=g)
    return (c[:, :, None] * torch.sin(6.28 * k[None, :, None] * t + ph[:, :, None])).sum(1)


def temperature(q, z, tt):
    """response: causal kernel that is damped and delayed with depth"""
    s = torch.linspace(0, 1, M)
    lag = tt[:, None] - s[None]
    kern = torch.where(
        lag > 0,
        torch.exp(-lag * 5) * torch.exp(-2 * z[:, None]) * torch.cos(4 * z[:, None] + 6 * lag),
        torch.zeros(()),
    )
    return 6 * q @ kern.T / M


class DeepONet(nn.Module):
    def __init__(self, p=32, w=96):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Linear(M, w), nn.GELU(), nn.Linear(w, w), nn.GELU(), nn.Linear(w, p)
        )
        self.trunk = nn.Sequential(
            nn.Linear(2, w), nn.GELU(), nn.Linear(w, w), nn.GELU(), nn.Linear(w, p)
        )
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, q, zt):
        return self.branch(q) @ self.trunk(zt).T + self.bias


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    q, qv = fluxes(1024, g), fluxes(256, g)
    z, t = torch.rand(200, generator=g), torch.rand(200, generator=g)
    zt = torch.stack([2 * z - 1, 2 * t - 1], 1)
    y, yv = temperature(q, z, t), temperature(qv, z, t)
    sd = y.std()
    y, yv = y / sd, yv / sd
    dtype = torch.float32 if fixed else torch.bfloat16
    net = DeepONet().to(dtype)
    opt = torch.optim.Adam(net.parameters(), lr=2e-4)
    hist = []
    with observe(net, opt):
        for step in range(1500):
            i = torch.randint(0, 1024, (128,))
            j = torch.randint(0, 200, (128,))
            pred = net(q[i].to(dtype), zt[j].to(dtype)).float()
            loss = ((pred - y[i][:, j]) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())
    with torch.no_grad():
        rel = ((net(qv.to(dtype), zt.to(dtype)).float() - yv).norm() / yv.norm()).item()
    return {"metric": rel, "better": "lower", "curve": hist}
