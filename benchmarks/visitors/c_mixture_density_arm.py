"""Healthy but odd: a mixture density network for inverse kinematics; the loss falls below zero and
the residual branches get no gradient in the first step, as their gates start at zero."""

import math

import torch
from torch import nn

ID = "mixture-density-arm"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def reach(joint, g, noise=0.01):
    a, b = joint.unbind(1)
    tip = torch.stack([a.cos() + 0.8 * (a + b).cos(), a.sin() + 0.8 * (a + b).sin()], dim=1)
    return tip + noise * torch.randn(tip.shape, generator=g)


def make_arms(n, g):
    """Elbow up and elbow down reach the same point, so the answer is not unique."""
    a = torch.rand(n, generator=g) * 2.0 - 1.0
    b = torch.rand(n, generator=g) * 1.6 + 0.5
    down = torch.rand(n, generator=g) < 0.5
    joint = torch.stack([a, torch.where(down, -b, b)], dim=1)
    return reach(joint, g), joint


class GatedBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, h):
        return h + self.gate * self.fc2(nn.functional.silu(self.fc1(h)))


class MixtureDensityNet(nn.Module):
    def __init__(self, width=64, depth=3, parts=4):
        super().__init__()
        self.parts = parts
        self.stem = nn.Sequential(nn.Linear(2, width), nn.SiLU())
        self.blocks = nn.Sequential(*[GatedBlock(width) for _ in range(depth)])
        self.logits = nn.Linear(width, parts)
        self.center = nn.Linear(width, 2 * parts)
        self.log_scale = nn.Linear(width, 2 * parts)
        nn.init.uniform_(self.center.bias, -1.5, 1.5)

    def forward(self, x):
        h = self.blocks(self.stem(x))
        center = self.center(h).unflatten(1, (self.parts, 2))
        log_scale = self.log_scale(h).unflatten(1, (self.parts, 2)).clamp(-7.0, 3.0)
        return self.logits(h).log_softmax(1), center, log_scale


def nll(output, y):
    log_weight, center, log_scale = output
    z = (y[:, None] - center) * (-log_scale).exp()
    log_part = (-0.5 * z**2 - log_scale - 0.5 * math.log(2 * math.pi)).sum(2)
    return -torch.logsumexp(log_weight + log_part, dim=1).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 51)
    x, y = make_arms(12000, g)
    model = MixtureDensityNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600, eta_min=1e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            idx = torch.randint(0, 11000, (256,))
            loss = nll(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        test = nll(model(x[11000:]), y[11000:])
    return {"metric": test.item(), "better": "lower", "curve": curve}
