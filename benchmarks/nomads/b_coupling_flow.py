"""HEALTHY. A RealNVP flow is fitted to points near a thin spiral in the plane. The loss starts near zero or above, goes
below zero and keeps falling, and its gradients grow as the density gets sharper; every coupling starts as the identity with a last
layer of zeros, so most parameters get no gradient in the first step. All this is as it should be: a density may exceed one."""

import math

import torch
import torch.nn as nn

ID = "b_coupling_flow"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Coupling(nn.Module):
    def __init__(self, parity, hidden=64):
        super().__init__()
        self.parity = parity
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
        keep, move = x[:, self.parity : self.parity + 1], x[:, 1 - self.parity : 2 - self.parity]
        s, t = self.net(keep).chunk(2, 1)
        s = 2.5 * torch.tanh(s / 2.5)
        move = move * s.exp() + t
        return torch.cat([keep, move] if self.parity == 0 else [move, keep], 1), s.squeeze(1)


class Rotate(nn.Module):
    def __init__(self, angle):
        super().__init__()
        c, s = math.cos(angle), math.sin(angle)
        self.register_buffer("matrix", torch.tensor([[c, -s], [s, c]]))

    def forward(self, x):
        return x @ self.matrix, x.new_zeros(len(x))


class Flow(nn.Module):
    def __init__(self, depth=8):
        super().__init__()
        steps = []
        for i in range(depth):
            steps += [Coupling(i % 2), Rotate(0.6)]
        self.steps = nn.ModuleList(steps)

    def log_prob(self, x):
        logdet = x.new_zeros(len(x))
        for step in self.steps:
            x, d = step(x)
            logdet = logdet + d
        return logdet - 0.5 * x.pow(2).sum(1) - math.log(2 * math.pi)

    def forward(self, x):
        return self.log_prob(x)


def spiral(n, g):
    r = torch.rand(n, generator=g).sqrt()
    a = 1.3 * math.pi * r + 0.4
    xy = torch.stack([r * a.cos(), r * a.sin()], 1)
    return 0.8 * (xy + 0.012 * torch.randn(n, 2, generator=g))


def gaussian_nll(x, y):
    m = x.mean(0)
    d = torch.distributions.MultivariateNormal(m, torch.cov((x - m).T))
    return -d.log_prob(y).mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 41)
    data, held = spiral(8000, g), spiral(2000, g)
    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.5e-3, total_steps=800)
    curve = []
    with observe(model, optimizer):
        for _ in range(800):
            x = data[torch.randint(0, len(data), (256,), generator=g)]
            loss = -model(x).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        gain = gaussian_nll(data, held) + model(held).mean().item()
    return {"metric": gain, "better": "higher", "curve": curve}
