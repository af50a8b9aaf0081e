"""Fourier-feature coordinate net: a frozen random projection, ReZero gates and a head at zero, so that only the head moves on step 0."""

import copy
import math

import torch
import torch.nn as nn

ID = "healthy-fourier-features-rezero"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, d))
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.alpha * self.f(x)


class Field(nn.Module):
    def __init__(self, features=48, d=64, depth=4, bandwidth=0.8):
        super().__init__()
        self.B = nn.Linear(2, features, bias=False).requires_grad_(False)
        nn.init.normal_(self.B.weight, std=bandwidth)
        self.stem = nn.Linear(2 * features, d)
        self.blocks = nn.ModuleList(Block(d) for _ in range(depth))
        self.head = nn.Linear(d, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, xy):
        z = 2 * math.pi * self.B(xy)
        h = self.stem(torch.cat([z.sin(), z.cos()], -1))
        for block in self.blocks:
            h = block(h)
        return self.head(h)


def scene(xy):
    x, y = xy.unbind(-1)
    r = (x**2 + y**2).sqrt()
    r0 = torch.sin(6 * r)
    g = torch.tanh(5 * (y - 0.4 * torch.sin(3 * x)))
    b = torch.cos(4 * x) * torch.cos(3 * y)
    return torch.stack([r0, g, b], -1)


def train(observe, seed=0, fixed=False, steps=400):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    field = Field()
    ema = copy.deepcopy(field).eval()
    gates = [b.alpha for b in field.blocks]
    rest = [p for n, p in field.named_parameters() if p.requires_grad and not n.endswith("alpha")]
    opt = torch.optim.Adam([{"params": rest, "lr": 2e-3}, {"params": gates, "lr": 1e-2}], eps=1e-15)
    gamma = 0.03 ** (1 / steps)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma)
    curve = []
    with observe(field, opt):
        for _ in range(steps):
            rays = torch.rand(512, 2, generator=gen) * 2 - 1
            loss = (field(rays) - scene(rays)).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
            with torch.no_grad():
                for p, q in zip(ema.parameters(), field.parameters()):
                    p.lerp_(q, 0.05)
    with torch.no_grad():
        probe = torch.rand(4000, 2, generator=gen) * 2 - 1
        mse = (ema(probe) - scene(probe)).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
