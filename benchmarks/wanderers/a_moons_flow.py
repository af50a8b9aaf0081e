"""A RealNVP flow is fitted to the two-moons density of a calibrated sensor whose readings are a few hundredths wide.
The loss is soon far below zero and goes on falling, which alarms people who take a negative loss for a bug; but a log density
in small units is large, and the held-out likelihood improves just as much. Nothing is wrong."""

import math
import torch
from torch import nn

ID = "a_moons_flow"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def moons(count, g):
    a = math.pi * torch.rand(count, generator=g)
    upper = torch.rand(count, generator=g) < 0.5
    x = torch.where(upper, torch.cos(a), 1 - torch.cos(a))
    y = torch.where(upper, torch.sin(a), 0.5 - torch.sin(a))
    p = torch.stack([x - 0.5, y - 0.25], 1) + 0.06 * torch.randn(count, 2, generator=g)
    return 0.02 * p


class Coupling(nn.Module):
    def __init__(self, flip, hidden=48):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2),
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
        return torch.cat([b, a] if self.flip else [a, b], 1), s.sum(1)


class Flow(nn.Module):
    def __init__(self, scale, depth=8):
        super().__init__()
        self.register_buffer("scale", scale)
        self.steps = nn.ModuleList([Coupling(bool(i % 2)) for i in range(depth)])

    def forward(self, x):
        z, log_det = x / self.scale, -self.scale.log().sum().expand(len(x))
        for step in self.steps:
            z, d = step(z)
            log_det = log_det + d
        return log_det - 0.5 * (z * z).sum(1) - math.log(2 * math.pi)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 314)
    data, held_out = moons(8000, g), moons(2000, g)
    model = Flow(data.std(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 900)
    curve = []
    with observe(model, optimizer):
        for _ in range(900):
            loss = -model(data[torch.randint(0, len(data), (256,), generator=g)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            anneal.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = model(held_out).mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
