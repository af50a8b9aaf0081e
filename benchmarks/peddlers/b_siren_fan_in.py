"""Implicit representation of a seismic section with an own SIREN (sine layers).
Bug: hidden weights are drawn from U(-1/fan_in, 1/fan_in) / omega (the sqrt(6/fan_in) of the paper is lost): the signal shrinks by a
factor of ten and more in every hidden layer."""

import math
import torch
import torch.nn as nn

ID = "b_siren_fan_in"
TRUTH = {
    "mechanisms": ["initialization_too_small"],
    "layers": ["hidden.0", "hidden.1", "hidden.2", "hidden.3"],
    "onset": (0, 0),
}


class Sine(nn.Module):
    def __init__(self, i, o, omega, first=False, fixed=False):
        super().__init__()
        self.omega = omega
        lim = 1.0 / i if first else ((math.sqrt(6.0 / i) if fixed else 1.0 / i) / omega)
        self.weight = nn.Parameter(torch.empty(i, o).uniform_(-lim, lim))
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x):
        return torch.sin(self.omega * (torch.matmul(x, self.weight) + self.bias))


class Siren(nn.Module):
    def __init__(self, width=112, depth=4, fixed=False):
        super().__init__()
        self.first = Sine(2, width, 20.0, first=True)
        self.hidden = nn.ModuleList(Sine(width, width, 20.0, fixed=fixed) for _ in range(depth))
        lim = math.sqrt(6.0 / width) / 20.0
        self.amp = nn.Parameter(torch.empty(width, 1).uniform_(-lim, lim))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, xy):
        h = self.first(xy)
        for layer in self.hidden:
            h = layer(h)
        return h @ self.amp + self.offset


def section(xy, g):
    """folded reflectors + a fault"""
    x, z = xy[:, 0], xy[:, 1]
    thr = torch.where(x > 0.2 + 0.3 * z, 0.25, 0.0)
    d = z + 0.2 * torch.sin(3 * x + 6.28 * torch.rand(1, generator=g)) + thr
    return (torch.sin(14 * d) + 0.5 * torch.sin(23 * d + 1))[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 131)
    xy = torch.rand(6000, 2, generator=g) * 2 - 1
    v = section(xy, g)
    v = (v - v.mean()) / v.std()
    xt, vt, xy, v = xy[:1000], v[:1000], xy[1000:], v[1000:]
    model = Siren(fixed=fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=6e-4, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for step in range(800):
            j = torch.randint(0, len(xy), (256,), generator=g)
            loss = (model(xy[j]) - v[j]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(xt) - vt).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
