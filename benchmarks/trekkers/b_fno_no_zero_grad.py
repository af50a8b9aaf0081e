"""1-D Fourier neural operator for the viscous smoothing-and-shift operator u0 -> u(T). Gradient accumulation over two micro-batches was
removed, and the `zero_grad` of the `if (i+1) % accum == 0` branch went with it: gradients are never cleared."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_fno_no_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}
N = 48


def fields(n, g, modes=8):
    k = torch.arange(1, modes + 1).float()
    c = torch.randn(n, modes, 2, generator=g) / k[None, :, None].sqrt()
    x = torch.arange(N) / N * 2 * math.pi

    def synth(c, shift):
        ph = k[:, None] * x + k[:, None] * shift
        return (c[..., :1] * ph.cos() + c[..., 1:] * ph.sin()).sum(1)

    u0 = synth(c, 0.0)
    uT = synth(c * torch.exp(-0.02 * k**2)[None, :, None], 0.7)
    return u0[:, None], (uT + 0.3 * uT**2)[:, None]


class Spectral(nn.Module):
    def __init__(self, c, modes):
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(c, c, modes, 2) / c)

    def forward(self, x):
        f = torch.fft.rfft(x)
        out = torch.zeros_like(f)
        out[..., : self.modes] = torch.einsum(
            "bim,iom->bom", f[..., : self.modes], torch.view_as_complex(self.weight)
        )
        return torch.fft.irfft(out, n=x.shape[-1])


class FNO(nn.Module):
    def __init__(self, c=16, modes=14, depth=3):
        super().__init__()
        self.lift, self.proj = (
            nn.Conv1d(2, c, 1),
            nn.Sequential(nn.Conv1d(c, 32, 1), nn.GELU(), nn.Conv1d(32, 1, 1)),
        )
        self.spec = nn.ModuleList(Spectral(c, modes) for _ in range(depth))
        self.skip = nn.ModuleList(nn.Conv1d(c, c, 1) for _ in range(depth))

    def forward(self, u):
        grid = torch.linspace(0, 1, N).expand(len(u), 1, N)
        h = self.lift(torch.cat([u, grid], 1))
        for s, w in zip(self.spec, self.skip):
            h = F.gelu(s(h) + w(h))
        return self.proj(h)


def rel_l2(p, t):
    return ((p - t).flatten(1).norm(dim=1) / t.flatten(1).norm(dim=1)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 14)
    u, v = fields(800, g)
    ut, vt = fields(200, g)
    model = FNO()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 6, 0.5)
    curve = []
    with observe(model, optimizer):
        for epoch in range(20):
            for idx in torch.randperm(len(u), generator=g).split(25):
                loss = rel_l2(model(u[idx]), v[idx])
                if fixed:
                    optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            scheduler.step()
    with torch.no_grad():
        return {"metric": rel_l2(model(ut), vt).item(), "better": "lower", "curve": curve}
