"""WaveNet-like dilated causal convolutions with own weight normalisation (w = g * v / |v|), next-sample prediction of a plucked string.
Bug: in the skip projection g is initialised to the fan-in (96) instead of 1, so the first outputs are tens of times too large."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_weightnorm_gain"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["skip"], "onset": (0, 0)}


class WNConv(nn.Module):
    def __init__(self, i, o, k, dil=1, gain=1.0):
        super().__init__()
        self.v = nn.Parameter(torch.randn(o, i, k))
        self.g = nn.Parameter(torch.full((o, 1, 1), float(gain)))
        self.b = nn.Parameter(torch.zeros(o))
        self.pad, self.dil = (k - 1) * dil, dil

    def forward(self, x):
        w = self.g * self.v / self.v.square().sum((1, 2), keepdim=True).sqrt()
        return F.conv1d(F.pad(x, (self.pad, 0)), w, self.b, dilation=self.dil)


class Gated(nn.Module):
    def __init__(self, c, dil):
        super().__init__()
        self.fg, self.mix = WNConv(c, 2 * c, 2, dil), WNConv(c, c, 1)

    def forward(self, x):
        f, g = self.fg(x).chunk(2, 1)
        z = torch.tanh(f) * torch.sigmoid(g)
        return (x + self.mix(z)) * 0.7071, z


class TinyWave(nn.Module):
    def __init__(self, c=24, n=4, gain=1.0):
        super().__init__()
        self.inp = WNConv(1, c, 2)
        self.blocks = nn.ModuleList(Gated(c, 2**i) for i in range(n))
        self.skip = WNConv(c * n, 48, 1, gain=gain)
        self.out = WNConv(48, 1, 1)

    def forward(self, x):
        h, zs = self.inp(x), []
        for b in self.blocks:
            h, z = b(h)
            zs.append(z)
        return self.out(F.relu(self.skip(torch.cat(zs, 1))))


def charbonnier(p, y, d=0.3):
    return (((y - p[:, 0]) ** 2 + d * d).sqrt() - d).mean()


def strings(n, g, T=97):
    t = torch.arange(T).float()
    f = 0.08 + 0.25 * torch.rand(n, 1, generator=g)
    x = sum(
        (0.6**k) * torch.sin(f * (k + 1) * t + 6.28 * torch.rand(n, 1, generator=g))
        for k in range(3)
    )
    x = x * torch.exp(-t / 120) * 1.2
    return x + 0.03 * torch.randn(n, T, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 251)
    model = TinyWave(gain=1.0 if fixed else 96.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    xt = strings(200, g)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            x = strings(12, g)
            loss = charbonnier(model(x[:, None, :-1]), x[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(xt[:, None, :-1])[:, 0] - xt[:, 1:]).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
