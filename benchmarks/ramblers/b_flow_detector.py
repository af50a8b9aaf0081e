"""Healthy: a RealNVP flow with actnorm-like scaling fits a narrow 4-d detector response. The loss (a density) goes far below
zero, the last layers of the couplings start at zero on purpose, and one permutation buffer and the base are fixed."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_flow_detector"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
D = 4


def events(n, g):
    r = 1 + 0.05 * torch.randn(n, generator=g)
    a = torch.rand(n, generator=g) * 2 * math.pi
    x, y = r * a.cos(), r * a.sin()
    z = x * y + 0.05 * torch.randn(n, generator=g)
    e = 0.5 * torch.sin(3 * a) + 0.05 * torch.randn(n, generator=g)
    return torch.stack([x, y, z, e], 1)


class Coupling(nn.Module):
    def __init__(self, flip, h=48):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(D // 2, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, D)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.bound = nn.Parameter(torch.ones(1))

    def forward(self, x):
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s) * self.bound
        b = b * torch.exp(s) + t
        return (torch.cat([b, a], 1) if self.flip else torch.cat([a, b], 1)), s.sum(1)


class Rotate(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.register_buffer("q", torch.linalg.qr(torch.randn(D, D, generator=g))[0])

    def forward(self, x):
        return x @ self.q, x.new_zeros(len(x))


class ActScale(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.ls = nn.Parameter(-x.std(0).log())
        self.mu = nn.Parameter(x.mean(0))

    def forward(self, x):
        return (x - self.mu) * self.ls.exp(), self.ls.sum().expand(len(x))


class Flow(nn.Module):
    def __init__(self, x, g):
        super().__init__()
        mods = [ActScale(x)]
        for k in range(6):
            mods += [Coupling(k % 2 == 1), Rotate(g)]
        self.steps = nn.ModuleList(mods)

    def nll(self, x):
        ld = 0
        for m in self.steps:
            x, l = m(x)
            ld = ld + l
        return (0.5 * x.pow(2).sum(1) + 0.5 * D * math.log(2 * math.pi) - ld).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    X, Xt = events(8000, g), events(2000, g)
    model = Flow(X[:500], g)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-5)
    steps = 600
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=steps)
    curve = []
    with observe(model, opt):
        for step in range(steps):
            x = X[torch.randint(0, len(X), (128,), generator=g)]
            loss = model.nll(x)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = model.nll(Xt).item()
    return {"metric": m, "better": "lower", "curve": curve}
