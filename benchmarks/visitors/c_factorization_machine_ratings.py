"""Factorization machine for ratings (user, item, weekday); the factor table is drawn from an empty
interval, so all latent factors start equal and stay equal."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "factorization-machine-ratings"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["factors"], "onset": 0}

FIELDS = (300, 200, 7)


def make_ratings(g, n=40000, rank=6):
    u, v = (torch.randn(k, rank, generator=g) / rank**0.25 for k in FIELDS[:2])
    day = 0.3 * torch.randn(FIELDS[2], generator=g)
    bu, bv = (0.4 * torch.randn(k, generator=g) for k in FIELDS[:2])
    ids = torch.stack([torch.randint(0, k, (n,), generator=g) for k in FIELDS], dim=1)
    i, j, d = ids.T
    rating = (u[i] * v[j]).sum(1) + bu[i] + bv[j] + day[d]
    return ids, rating + 0.2 * torch.randn(n, generator=g)


def init_table(weight, dim, symmetric_range):
    """Scale for which the dot product of two rows is of order one."""
    bound = math.sqrt(1.0 / dim)
    low = -bound if symmetric_range else bound
    nn.init.uniform_(weight, low, bound)


class FactorizationMachine(nn.Module):
    def __init__(self, fields, dim, symmetric_range):
        super().__init__()
        total = sum(fields)
        offsets = torch.tensor([0, *fields[:-1]]).cumsum(0)
        self.register_buffer("offsets", offsets)
        self.linear = nn.Embedding(total, 1)
        self.factors = nn.Embedding(total, dim)
        self.bias = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.linear.weight)
        init_table(self.factors.weight, dim, symmetric_range)

    def forward(self, ids):
        ids = ids + self.offsets
        v = self.factors(ids)
        pairwise = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)
        return self.bias + self.linear(ids).sum((1, 2)) + pairwise


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    ids, rating = make_ratings(torch.Generator().manual_seed(seed + 1))
    n_train = 36000
    loader = DataLoader(
        TensorDataset(ids[:n_train], rating[:n_train]), batch_size=600, shuffle=True
    )
    model = FactorizationMachine(FIELDS, dim=8, symmetric_range=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * len(loader))
    curve = []
    with observe(model, optimizer):
        for _ in range(10):
            for x, y in loader:
                loss = nn.functional.mse_loss(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())
    with torch.no_grad():
        error = model(ids[n_train:]) - rating[n_train:]
    return {"metric": error.pow(2).mean().sqrt().item(), "better": "lower", "curve": curve}
