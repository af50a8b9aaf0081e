"""Fourier neural operator for Burgers' equation: operator precedence in the spectral init scale."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "c-fno-burgers"
TRUTH = {
    "mechanisms": ["initialization_too_large", "depth_amplification"],
    "layers": ["blocks"]
    + [f"blocks.{i}" for i in range(4)]
    + [f"blocks.{i}.spectral" for i in range(4)],
    "onset": 0,
}
GRID = 64


def burgers(n, steps=120, dt=0.005, nu=0.02):
    x = torch.arange(GRID) / GRID * 2 * math.pi
    amp = torch.randn(n, 4, 1) / torch.arange(1, 5)[:, None]
    phase = torch.rand(n, 4, 1) * 2 * math.pi
    u0 = (amp * torch.sin(torch.arange(1, 5)[:, None] * x + phase)).sum(1)
    k = torch.arange(GRID // 2 + 1).float()
    keep = (k < GRID / 3).float()
    uh = torch.fft.rfft(u0)
    decay = torch.exp(-nu * k**2 * dt)
    for _ in range(steps):
        u = torch.fft.irfft(uh, GRID)
        half = uh - 0.5 * dt * 0.5j * k * keep * torch.fft.rfft(u * u)
        mid = torch.fft.irfft(half, GRID)
        uh = decay * (uh - 0.5j * dt * k * keep * torch.fft.rfft(mid * mid))
    return u0, torch.fft.irfft(uh, GRID)


class SpectralConv(nn.Module):
    def __init__(self, cin, cout, modes, fixed):
        super().__init__()
        self.modes = modes
        scale = 1 / (cin * cout) if fixed else 1 / cin * cout
        self.weight = nn.Parameter(scale * torch.rand(cin, cout, modes, 2))

    def forward(self, x):
        xh = torch.fft.rfft(x)[..., : self.modes]
        out = torch.einsum("bim,iom->bom", xh, torch.view_as_complex(self.weight))
        return torch.fft.irfft(F.pad(out, (0, GRID // 2 + 1 - self.modes)), GRID)


class FourierBlock(nn.Module):
    def __init__(self, width, modes, fixed):
        super().__init__()
        self.spectral = SpectralConv(width, width, modes, fixed)
        self.local = nn.Conv1d(width, width, 1)

    def forward(self, x):
        return self.spectral(x) + self.local(x)


class FNO(nn.Module):
    def __init__(self, width=24, modes=14, depth=4, fixed=False):
        super().__init__()
        self.lift = nn.Conv1d(2, width, 1)
        self.blocks = nn.ModuleList(FourierBlock(width, modes, fixed) for _ in range(depth))
        self.project = nn.Sequential(nn.Conv1d(width, 48, 1), nn.GELU(), nn.Conv1d(48, 1, 1))

    def forward(self, u):
        where = torch.linspace(-1, 1, GRID).expand_as(u)
        h = self.lift(torch.stack([u, where], 1))
        for block in self.blocks:
            h = F.gelu(block(h))
        return self.project(h).squeeze(1)


def rel_l2(pred, true):
    return ((pred - true).norm(dim=1) / true.norm(dim=1)).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    u0, u1 = burgers(900)
    model = FNO(fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 300)
    curve = []
    with observe(model, opt):
        for _ in range(300):
            idx = torch.randint(0, 700, (20,))
            loss = rel_l2(model(u0[idx]), u1[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = rel_l2(model(u0[700:]), u1[700:]).item()
    return {"metric": err, "better": "lower", "curve": curve}
