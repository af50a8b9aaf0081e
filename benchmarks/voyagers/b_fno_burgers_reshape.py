"""Fourier neural operator for Burgers flow; the spectral layer turns channels-last into
channels-first by reshape instead of transpose, so space and channels are scrambled."""

import math

import torch
from torch import nn

ID = "fno-burgers-reshape"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["blocks"]
    + [f"blocks.{i}" for i in range(4)]
    + [f"blocks.{i}.spectral" for i in range(4)],
    "onset": 0,
}


class SpectralConv1d(nn.Module):
    def __init__(self, width, modes, transpose):
        super().__init__()
        self.modes, self.transpose = modes, transpose
        self.weight = nn.Parameter(torch.randn(width, width, modes, 2) / (2 * width) ** 0.5)

    def forward(self, x):
        b, n, c = x.shape
        u = x.transpose(1, 2) if self.transpose else x.reshape(b, c, n)
        uf = torch.fft.rfft(u, norm="ortho")[..., : self.modes]
        uf = torch.einsum("bim,iom->bom", uf, torch.view_as_complex(self.weight))
        u = torch.fft.irfft(nn.functional.pad(uf, (0, n // 2 + 1 - self.modes)), n, norm="ortho")
        return u.transpose(1, 2) if self.transpose else u.reshape(b, n, c)


class FourierBlock(nn.Module):
    def __init__(self, width, modes, transpose):
        super().__init__()
        self.spectral = SpectralConv1d(width, modes, transpose)
        self.local = nn.Linear(width, width)

    def forward(self, x):
        return x + nn.functional.gelu(self.spectral(x) + self.local(x))


class FNO1d(nn.Module):
    def __init__(self, width=32, modes=12, depth=4, transpose=False):
        super().__init__()
        self.lift = nn.Linear(3, width)
        self.blocks = nn.Sequential(*(FourierBlock(width, modes, transpose) for _ in range(depth)))
        self.project = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, u):
        x = 2 * math.pi * torch.arange(u.shape[1]) / u.shape[1]
        pos = torch.stack([x.sin(), x.cos()], -1).expand(len(u), -1, -1)
        h = torch.cat([u.unsqueeze(-1), pos], -1)
        return self.project(self.blocks(self.lift(h))).squeeze(-1)


def burgers(n, grid=64, steps=200, dt=0.004, nu=0.1):
    k = torch.arange(grid // 2 + 1)
    amp = torch.where((k > 0) & (k <= 5), 1.0 / (1 + k) ** 0.5, 0.0)
    uf = torch.randn(n, len(k), dtype=torch.complex64) * amp
    u0 = torch.fft.irfft(uf, grid)
    u0 = u0 / u0.std(1, keepdim=True)
    uf, damp = torch.fft.rfft(u0), torch.exp(-nu * k**2 * dt)
    for _ in range(steps):
        flux = torch.fft.rfft(0.5 * torch.fft.irfft(uf, grid) ** 2) * (k < grid // 3)
        uf = (uf - dt * 1j * k * flux) * damp
    return u0, torch.fft.irfft(uf, grid)


def relative_l2(pred, target):
    return ((pred - target).norm(dim=1) / target.norm(dim=1)).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    (u0, u1), (v0, v1) = burgers(800), burgers(200)
    model = FNO1d(transpose=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    curve = []
    with observe(model, optimizer):
        for _ in range(14):
            for idx in torch.randperm(len(u0)).split(32):
                loss = relative_l2(model(u0[idx]), u1[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            schedule.step()
    with torch.no_grad():
        error = relative_l2(model(v0), v1).item()
    return {"metric": error, "better": "lower", "curve": curve}
