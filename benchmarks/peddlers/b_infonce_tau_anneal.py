"""Two-view contrastive learning (paired spectra from two instruments) with a home-made InfoNCE whose temperature is annealed.
Bug: the loss exponentiates similarities without subtracting the maximum; once 1/tau passes about 88 exp() is inf, inf/inf = NaN."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_infonce_tau_anneal"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["nce"], "onset": (545, 562)}

STEPS, TAU0, TAU1 = 600, 0.5, 0.008


def tau_at(step):
    return TAU0 * (TAU1 / TAU0) ** (step / (STEPS - 1))


class Dense(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.w = nn.Parameter(torch.randn(i, o) * math.sqrt(2.0 / i))
        self.b = nn.Parameter(torch.zeros(o))

    def forward(self, x):
        return torch.einsum("bi,io->bo", x, self.w) + self.b


class Tower(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Dense(d, 128), Dense(128, 128), Dense(128, 32)

    def forward(self, x):
        h = F.silu(self.fc1(x))
        h = h + F.silu(self.fc2(h))
        z = self.fc3(h)
        return z / (z.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt()


class InfoNCE(nn.Module):
    def __init__(self, stable):
        super().__init__()
        self.stable, self.tau = stable, TAU0

    def forward(self, za, zb):
        s = za @ zb.t() / self.tau
        if self.stable:
            s = s - s.max(dim=1, keepdim=True).values.detach()
            return (torch.logsumexp(s, 1) - s.diagonal()).mean()
        e = torch.exp(s)
        return -torch.log(e.diagonal() / e.sum(1)).mean()


class TwoTower(nn.Module):
    def __init__(self, da, db, stable):
        super().__init__()
        self.a, self.b, self.nce = Tower(da), Tower(db), InfoNCE(stable)

    def forward(self, xa, xb):
        return self.nce(self.a(xa), self.b(xb))


class Instruments:
    """Both instruments see the same 8 latent concentrations through different non-linear responses."""

    def __init__(self, g):
        self.g = g
        self.A = torch.randn(8, 40, generator=g) / 2.8
        self.B = torch.randn(8, 60, generator=g) / 2.8

    def draw(self, n):
        c = torch.randn(n, 8, generator=self.g)
        xa = torch.tanh(c @ self.A) + 0.15 * torch.randn(n, 40, generator=self.g)
        xb = torch.sin(1.5 * (c @ self.B)) + 0.15 * torch.randn(n, 60, generator=self.g)
        return xa, xb


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = Instruments(torch.Generator().manual_seed(seed + 7))
    model = TwoTower(40, 60, stable=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            model.nce.tau = tau_at(step)
            loss = model(*data.draw(256))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    xa, xb = data.draw(512)
    with torch.no_grad():
        sim = model.a(xa) @ model.b(xb).t()
        sim = torch.where(torch.isfinite(sim), sim, torch.zeros_like(sim) - torch.arange(512.0))
        top1 = (sim.argmax(1) == torch.arange(512)).float().mean().item()
    return {"metric": top1, "better": "higher", "curve": curve}
