"""RealNVP on two moons, Adam at 3e-2."""

import math, torch
from torch import nn

ID = "realnvp-learning-rate"
TRUTH = {"mechanisms": ["learning_rate_too_high"], "layers": None, "onset": None}


def mlp():
    return nn.Sequential(
        nn.Linear(2, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 2)
    )


class RealNVP(nn.Module):
    def __init__(self, n=6):
        super().__init__()
        self.s = nn.ModuleList([mlp() for _ in range(n)])
        self.t = nn.ModuleList([mlp() for _ in range(n)])
        self.register_buffer("mask", torch.tensor([[0.0, 1.0], [1.0, 0.0]] * (n // 2)))

    def forward(self, x):
        ld = x.new_zeros(len(x))
        for i in reversed(range(len(self.s))):
            m = self.mask[i]
            xm = x * m
            s = self.s[i](xm) * (1 - m)
            t = self.t[i](xm) * (1 - m)
            x = xm + (1 - m) * (x - t) * torch.exp(-s)
            ld = ld - s.sum(1)
        return (x, ld)

    def log_prob(self, x):
        z, ld = self(x)
        return -0.5 * (z**2).sum(1) - math.log(2 * math.pi) + ld


def moons(n, g):
    t = torch.rand(n, generator=g) * math.pi
    up = torch.rand(n, generator=g) < 0.5
    x = torch.where(up, torch.cos(t), 1 - torch.cos(t))
    y = torch.where(up, torch.sin(t), 0.5 - torch.sin(t))
    p = torch.stack([x, y], 1) + 0.08 * torch.randn(n, 2, generator=g)
    return (p - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])


def train(observe, seed=0, fixed=False):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = RealNVP()
    opt = torch.optim.Adam(model.parameters(), lr=0.001 if fixed else 0.03)
    losses = []
    with observe(model, opt):
        for it in range(400):
            loss = -model.log_prob(moons(128, g)).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}
