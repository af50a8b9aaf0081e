"""A RealNVP density model of soil-moisture fractions in (0, 1), with a logit as its first bijection. Halfway through the stream the
loggers are updated and send whole per cents, so that some fractions are exactly 0 or 1 and the logit with its log-determinant is
infinite. People forget the usual squeeze (alpha + (1 - 2 alpha) x) because raw float readings never touch the borders."""

import math
import torch
from torch import nn

ID = "b_flow_logit_edges"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["to_real"], "onset": (250, 252)}
DIM = 6


class Logit(nn.Module):
    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        x = self.alpha + (1 - 2 * self.alpha) * x
        ld = -(torch.log(x) + torch.log1p(-x)) + math.log(1 - 2 * self.alpha)
        return torch.log(x) - torch.log1p(-x), ld.sum(1)


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(DIM // 2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, DIM)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        b = b * s.exp() + t
        return torch.cat([b, a], 1) if self.flip else torch.cat([a, b], 1), s.sum(1)


class MoistureFlow(nn.Module):
    def __init__(self, alpha):
        super().__init__()
        self.to_real = Logit(alpha)
        self.couplings = nn.ModuleList([Coupling(k % 2 == 1) for k in range(6)])
        self.loc = nn.Parameter(torch.zeros(DIM))
        self.log_scale = nn.Parameter(torch.zeros(DIM))

    def log_prob(self, x):
        z, ld = self.to_real(x)
        for c in self.couplings:
            z, d = c(z)
            ld = ld + d
        z = (z - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * (z**2).sum(1) - 0.5 * DIM * math.log(2 * math.pi) + ld - self.log_scale.sum()

    forward = log_prob


def readings(n, g):
    # wet and dry spells, neighbouring depths correlated, a few loggers near the borders
    spell = torch.where(torch.rand(n, 1, generator=g) < 0.5, -1.6, 1.4)
    walk = torch.cumsum(0.7 * torch.randn(n, DIM, generator=g), 1)
    return torch.sigmoid(spell + walk + 0.4 * torch.sin(3 * walk.roll(1, 1)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(7 + seed)
    steps, batch, update_at = 500, 96, 250
    stream = readings(steps * batch, g)
    stream[update_at * batch :] = torch.round(100 * stream[update_at * batch :]) / 100
    held_out = readings(3000, g)

    model = MoistureFlow(alpha=0.002 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []

    def step(x):
        opt.zero_grad(set_to_none=True)
        nll = -model(x).mean()
        nll.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        opt.step()
        return nll.item()

    with observe(model, opt):
        for k in range(steps):
            curve.append(step(stream[k * batch : (k + 1) * batch]))
    with torch.no_grad():
        score = -model(held_out).mean()
    metric = score.item() if torch.isfinite(score) else 1e3
    return {"metric": metric, "better": "lower", "curve": curve}
