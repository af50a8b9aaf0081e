"""Healthy: a SIREN that stores a sound. omega_0 = 30 multiplies every pre-activation (big on purpose), the learning rate of 3e-4 looks
low, and no weight decay or norm is used."""

import math
import torch
import torch.nn as nn

ID = "b_ok_siren_audio"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Sine(nn.Module):
    def __init__(self, i, o, w0=30.0, first=False):
        super().__init__()
        self.w0, self.lin = w0, nn.Linear(i, o)
        bound = 1.0 / i if first else math.sqrt(6.0 / i) / w0
        nn.init.uniform_(self.lin.weight, -bound, bound)
        nn.init.uniform_(self.lin.bias, -math.pi / w0, math.pi / w0)

    def forward(self, x):
        return torch.sin(self.w0 * self.lin(x))


class Siren(nn.Module):
    def __init__(self, h=64):
        super().__init__()
        self.body = nn.Sequential(Sine(1, h, first=True), Sine(h, h), Sine(h, h))
        self.final = nn.Linear(h, 1)
        nn.init.uniform_(self.final.weight, -math.sqrt(6.0 / h) / 30, math.sqrt(6.0 / h) / 30)
        nn.init.zeros_(self.final.bias)

    def forward(self, t):
        return self.final(self.body(t))


def sound(t, g):
    f = 40 + 180 * torch.rand(5, generator=g)
    a = 0.2 + 0.3 * torch.rand(5, generator=g)
    y = sum(a[k] * torch.sin(f[k] * t + k) for k in range(5))
    return y * torch.exp(-0.8 * (t + 0.2) ** 2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(44 + seed)
    t = torch.linspace(-1, 1, 1200)[:, None]
    y = sound(t, g)
    tr, va = torch.arange(1200) % 4 != 3, torch.arange(1200) % 4 == 3
    model = Siren()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    curve = []
    tt, yt = t[tr], y[tr]
    with observe(model, optimizer):
        for step in range(900):
            b = torch.randint(0, len(tt), (400,), generator=g)
            loss = ((model(tt[b]) - yt[b]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = ((model(t[va]) - y[va]) ** 2).mean().item()
    return {"metric": mse / y.var().item(), "better": "lower", "curve": curve}
