"""Coupling flow with data-dependent ActNorm; a shape check on a blank batch triggers the one-time
initialisation, so every ActNorm keeps the statistics of constant zeros."""

import math

import torch
from torch import nn

ID = "realnvp-actnorm-dry-run"
TRUTH = {
    "mechanisms": ["degenerate_normalization", "initialization_too_large"],
    "layers": ["steps"] + [f"steps.{i}" for i in range(4)] + [f"steps.{i}.norm" for i in range(4)],
    "onset": 0,
}


class ActNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x):
        if not self.initialized:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.log_scale.copy_(-x.std(0).clamp(min=0.02).log())
                self.initialized.fill_(True)
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum()


class FlowStep(nn.Module):
    def __init__(self, dim, hidden, flip):
        super().__init__()
        self.norm = ActNorm(dim)
        self.flip = flip
        self.half = dim // 2
        layers = [nn.Linear(self.half, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, dim))
        nn.init.normal_(self.net[-1].weight, std=0.01)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        x, logdet = self.norm(x)
        a, b = x.chunk(2, dim=-1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).chunk(2, dim=-1)
        s = 1.5 * torch.tanh(s)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], -1), logdet + s.sum(-1)


class Flow(nn.Module):
    def __init__(self, dim=4, hidden=64, depth=4):
        super().__init__()
        self.steps = nn.ModuleList(FlowStep(dim, hidden, i % 2 == 1) for i in range(depth))

    def log_prob(self, x):
        total = 0.0
        for step in self.steps:
            x, logdet = step(x)
            total = total + logdet
        return total - 0.5 * (x.pow(2) + math.log(2 * math.pi)).sum(-1)


def spiral(n):
    u = 1 + 2.5 * math.pi * torch.rand(n, 1).sqrt()
    xy = torch.cat([u * u.cos(), u * u.sin()], 1) / 2 + 0.15 * torch.randn(n, 2)
    rest = torch.cat([xy.prod(1, keepdim=True) / 4, xy[:, :1] ** 2 / 8], 1)
    return torch.cat([xy, rest + 0.3 * torch.randn(n, 2)], 1)


def build(example, fixed):
    flow = Flow(dim=example.shape[1])
    probe = example if fixed else torch.zeros_like(example)  # dry run: check the shapes
    assert flow.log_prob(probe).shape == (len(example),)
    return flow


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data, test = spiral(6000), spiral(1000)
    flow = build(data[:256], fixed)
    optimizer = torch.optim.Adamax(flow.parameters(), lr=4e-3)
    curve = []
    with observe(flow, optimizer):
        for _ in range(500):
            batch = data[torch.randint(0, len(data), (256,))]
            loss = -flow.log_prob(batch).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = -flow.log_prob(test).mean()
    return {"metric": torch.nan_to_num(nll, nan=1e9).item(), "better": "lower", "curve": curve}
