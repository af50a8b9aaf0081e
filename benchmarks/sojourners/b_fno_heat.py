"""1-D Fourier neural operator: initial profile -> solution of the heat/advection equation at t=T.
Bug: the complex spectral weights of all blocks are drawn with randn and miss the 1/(c_in*c_out) scale."""

import math, torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_fno_heat"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["blocks.0.spectral", "blocks.1.spectral", "blocks.2.spectral", "blocks.3.spectral"],
    "onset": (0, 0),
}


class SpectralConv1d(nn.Module):
    def __init__(self, c_in, c_out, modes, scale=None):
        super().__init__()
        self.modes, self.c_out = modes, c_out
        scale = 1.0 / (c_in * c_out) if scale is None else scale
        self.weight = nn.Parameter(scale * torch.randn(c_in, c_out, modes, 2))

    def forward(self, x):
        B, C, N = x.shape
        xf = torch.fft.rfft(x)
        out = torch.zeros(B, self.c_out, N // 2 + 1, dtype=torch.cfloat)
        out[:, :, : self.modes] = torch.einsum(
            "bim,iom->bom", xf[:, :, : self.modes], torch.view_as_complex(self.weight)
        )
        return torch.fft.irfft(out, n=N)


class FNOBlock(nn.Module):
    def __init__(self, width, modes, scale=None, last=False):
        super().__init__()
        self.spectral = SpectralConv1d(width, width, modes, scale)
        self.skip = nn.Conv1d(width, width, 1)
        self.last = last

    def forward(self, x):
        y = self.spectral(x) + self.skip(x)
        return y if self.last else F.gelu(y)


class FNO1d(nn.Module):
    def __init__(self, width=24, modes=16, scales=(None,) * 4):
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.blocks = nn.ModuleList(
            FNOBlock(width, modes, s, i == len(scales) - 1) for i, s in enumerate(scales)
        )
        self.proj = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 1))

    def forward(self, u):
        grid = torch.linspace(0, 1, u.shape[1]).expand_as(u)
        x = self.lift(torch.stack([u, grid], -1)).transpose(1, 2)
        for b in self.blocks:
            x = b(x)
        return self.proj(x.transpose(1, 2)).squeeze(-1)


def make_pde(n, N=64, g=None):
    k = torch.arange(N // 2 + 1).float()
    coef = torch.randn(n, N // 2 + 1, 2, generator=g) / (1 + (k / 4) ** 2)[:, None]
    c = torch.view_as_complex(coef) * (k > 0)
    u0 = torch.fft.irfft(c, n=N) * N / 8
    amp = u0.std(1, keepdim=True)
    prop = torch.exp(-0.004 * k**2 - 1j * 2 * math.pi * k * 0.2)
    u1 = torch.fft.irfft(torch.fft.rfft(torch.tanh(u0 / amp)) * prop, n=N)
    return u0 / amp, u1


def rel_l2(p, y):
    return ((p - y).norm(dim=1) / y.norm(dim=1)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    xtr, ytr = make_pde(512, g=g)
    xte, yte = make_pde(128, g=g)
    model = FNO1d(scales=(None if fixed else 1.0,) * 4)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    epochs, bs = 22, 32
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=8, gamma=0.5)
    curve = []
    with observe(model, opt):
        for ep in range(epochs):
            perm = torch.randperm(len(xtr), generator=g)
            for i in range(0, len(xtr), bs):
                idx = perm[i : i + bs]
                loss = rel_l2(model(xtr[idx]), ytr[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
            sched.step()
    with torch.no_grad():
        m = rel_l2(model(xte), yte).item()
    return {"metric": m, "better": "lower", "curve": curve}
