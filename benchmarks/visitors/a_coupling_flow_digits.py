"""Healthy but odd: a coupling flow on dequantised digits, whose loss (nats per dimension) crosses zero
and keeps falling below it, and whose last layers all start at exactly zero."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn

ID = "coupling-flow-digits"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Coupling(nn.Module):
    def __init__(self, dim, width, mask):
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = nn.Sequential(
            nn.Linear(dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * dim),
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        raw, shift = self.net(x * self.mask).chunk(2, 1)
        log_scale = 2 * torch.tanh(raw / 2) * (1 - self.mask)
        y = x * torch.exp(log_scale) + shift * (1 - self.mask)
        return y, log_scale.sum(1)


class Flow(nn.Module):
    def __init__(self, dim=64, width=96, depth=6):
        super().__init__()
        i = torch.arange(dim)
        checker = ((i // 8 + i % 8) % 2).float()
        half = (i % 8 < 4).float()
        masks = [checker, 1 - checker, half, 1 - half]
        self.steps = nn.ModuleList(Coupling(dim, width, masks[k % 4]) for k in range(depth))
        self.log_gain = nn.Parameter(torch.zeros(dim))
        self.offset = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        total = self.log_gain.sum().expand(len(x))
        z = (x - self.offset) * self.log_gain.exp()
        for step in self.steps:
            z, log_det = step(z)
            total = total + log_det
        log_prior = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
        return log_prior + total


def dequantise(x):
    return 2 * ((x + torch.rand_like(x)) / 17 - 0.3)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x = torch.tensor(load_digits().data, dtype=torch.float32)
    x = x[torch.randperm(len(x))]
    train_x, test_x = x[:1500], x[1500:]
    model = Flow()
    optimizer = torch.optim.Adamax(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.997)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            batch = dequantise(train_x[torch.randint(0, len(train_x), (64,))])
            loss = -model(batch).mean() / 64
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        nll = -model(dequantise(test_x)).mean().item() / 64
    return {"metric": nll, "better": "lower", "curve": curve}
