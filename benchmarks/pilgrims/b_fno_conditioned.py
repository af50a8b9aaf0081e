"""A Fourier neural operator maps an initial profile to the later state of an advection-diffusion equation, conditioned on
speed and viscosity. The conditioning branch keeps the 32 groups of the big configuration although the small one has only
32 channels, so each group normalises a single number and the condition is wiped out."""

import math

import torch
from torch import nn

ID = "b_fno_conditioned"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["condition.norm"], "onset": 0}
N = 64


def solve(n, rng):
    k = torch.fft.rfftfreq(N, 1 / N)
    amp = torch.zeros(n, N // 2 + 1, dtype=torch.complex64)
    amp[:, 1:7] = (
        torch.complex(torch.randn(n, 6, generator=rng), torch.randn(n, 6, generator=rng)) * N / 6
    )
    speed = 2 * torch.rand(n, generator=rng) - 1
    nu = 0.02 * torch.rand(n, generator=rng)
    factor = torch.exp(-1j * k * speed[:, None] * 1.5 - nu[:, None] * k**2)
    u0, u1 = torch.fft.irfft(amp, n=N), torch.fft.irfft(amp * factor, n=N)
    return u0, torch.stack([speed, (nu - 0.01) / 0.006], 1), u1


class SpectralConv(nn.Module):
    def __init__(self, width, modes):
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, 2) / width)

    def forward(self, x):
        f = torch.fft.rfft(x)
        out = torch.zeros_like(f)
        out[..., : self.modes] = torch.einsum(
            "bim,iom->bom", f[..., : self.modes], torch.view_as_complex(self.weight)
        )
        return torch.fft.irfft(out, n=x.shape[-1])


class Condition(nn.Module):
    def __init__(self, dim, groups, layers, width):
        super().__init__()
        self.lift = nn.Linear(2, dim)
        self.norm = nn.GroupNorm(groups, dim)
        self.act = nn.GELU()
        self.film = nn.Linear(dim, layers * 2 * width)
        self.shape = (layers, 2, width)

    def forward(self, p):
        return self.film(self.act(self.norm(self.lift(p)))).unflatten(1, self.shape)


class FNO(nn.Module):
    def __init__(self, width=24, modes=10, layers=3, groups=4):
        super().__init__()
        self.lift = nn.Conv1d(2, width, 1)
        self.spectral = nn.ModuleList([SpectralConv(width, modes) for _ in range(layers)])
        self.local = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in range(layers)])
        self.condition = Condition(32, groups, layers, width)
        self.project = nn.Sequential(nn.Conv1d(width, 32, 1), nn.GELU(), nn.Conv1d(32, 1, 1))

    def forward(self, u, p):
        grid = torch.linspace(0, 2 * math.pi, N).sin().expand(len(u), 1, N)
        h = self.lift(torch.cat([u[:, None], grid], 1))
        mod = self.condition(p)
        for i, (s, l) in enumerate(zip(self.spectral, self.local)):
            gain, shift = mod[:, i, 0, :, None], mod[:, i, 1, :, None]
            h = h + nn.functional.gelu((1 + gain) * s(h) + shift * l(h))
        return self.project(h).squeeze(1)


def relative_l2(a, b):
    return (torch.linalg.vector_norm(a - b, dim=1) / torch.linalg.vector_norm(b, dim=1)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 11)
    u0, par, u1 = solve(2000, rng)
    v0, vpar, v1 = solve(400, rng)
    model = FNO(groups=4 if fixed else 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 400
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    curve = []
    with observe(model, optimizer):
        for _ in range(steps):
            i = torch.randint(0, len(u0), (24,), generator=rng)
            loss = relative_l2(model(u0[i], par[i]), u1[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = relative_l2(model(v0, vpar), v1).item()
    return {"metric": err, "better": "lower", "curve": curve}
