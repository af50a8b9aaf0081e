"""A RealNVP density model of stellar catalogue rows (six columns, two of them almost functions of the others) is trained by maximum
likelihood. The loss falls through zero and on to large negative values and nearly every gradient is clipped; densities of nearly degenerate
columns are simply large, and the likelihood of held-out stars is as good. People who expect losses to be positive think that it diverges."""

import math
import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_gaia_flow"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

D = 6


def catalogue(n, g):
    age = torch.rand(n, generator=g)
    mass = torch.exp(0.5 * torch.randn(n, generator=g))
    teff = 1.2 * torch.log(mass) - 0.5 * age**2 + 0.05 * torch.randn(n, generator=g)
    lum = 3.5 * torch.log(mass) + 0.02 * torch.randn(n, generator=g)
    colour = -torch.tanh(teff) + 0.01 * torch.randn(n, generator=g)
    radius = 0.5 * lum - 2 * teff + 0.01 * torch.randn(n, generator=g)
    x = torch.stack([torch.log(mass), age, teff, lum, colour, radius], 1)
    return (x - x.mean(0)) / x.std(0)


class Coupling(nn.Module):
    def __init__(self, mask, h=48):
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = nn.Sequential(
            nn.Linear(D, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 2 * D)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.log_range = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        s, t = self.net(x * self.mask).chunk(2, 1)
        s = self.log_range * torch.tanh(s) * (1 - self.mask)
        return x * self.mask + (1 - self.mask) * (x * s.exp() + t), s.sum(1)


class RealNVP(nn.Module):
    def __init__(self, depth=8):
        super().__init__()
        pats = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]
        self.steps = nn.ModuleList(
            [Coupling(torch.tensor(pats[k % 4], dtype=torch.float32)) for k in range(depth)]
        )

    def log_prob(self, x):
        ld = x.new_zeros(len(x))
        for st in self.steps:
            x, s = st(x)
            ld = ld + s
        return ld - 0.5 * (x**2).sum(1) - 0.5 * D * math.log(2 * math.pi)

    forward = log_prob


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    stars, held = catalogue(8000, g), catalogue(1500, g)
    flow = RealNVP()
    opt = torch.optim.Adam(flow.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1000, eta_min=2e-5)
    nll = []
    with observe(flow, opt):
        for it in range(1000):
            batch = stars[torch.randint(0, len(stars), (200,))]
            loss = -flow(batch).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
            opt.step()
            sched.step()
            nll.append(loss.item())
    with torch.no_grad():
        m = -flow(held).mean().item()
    return {"metric": m, "better": "lower", "curve": nll}
