"""Factorization machine on sparse rating records; every factor column starts with one constant, so the k latent factors stay copies of each other."""

import torch
from torch import nn

ID = "c-factorization-machine-ratings"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["factors"], "onset": 0}

FIELDS = {"user": 160, "item": 120, "weekday": 7, "device": 5, "genre": 12}
RANK = 10


def make_records(n, gen):
    cols = torch.stack([torch.randint(0, c, (n,), generator=gen) for c in FIELDS.values()], 1)
    offsets = torch.tensor([0, *FIELDS.values()]).cumsum(0)[:-1]
    idx = cols + offsets
    latent = torch.randn(sum(FIELDS.values()), 6, generator=gen) * 0.6
    bias = torch.randn(sum(FIELDS.values()), generator=gen) * 0.2
    v = latent[idx]
    inter = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(-1)
    y = bias[idx].sum(1) + inter
    y = (y - y.mean()) / y.std()
    return idx, y + 0.1 * torch.randn(n, generator=gen)


class FactorizationMachine(nn.Module):
    def __init__(self, n_features, rank):
        super().__init__()
        self.linear = nn.Embedding(n_features, 1)
        self.factors = nn.Embedding(n_features, rank)
        self.bias = nn.Parameter(torch.zeros(()))

    def reset_parameters(self, break_ties):
        nn.init.zeros_(self.linear.weight)
        scale = 0.25 / self.factors.embedding_dim**0.5
        if break_ties:
            nn.init.normal_(self.factors.weight, std=scale)
        else:
            # start from a weak positive affinity between all features
            nn.init.constant_(self.factors.weight, scale)

    def forward(self, idx):
        v = self.factors(idx)
        square_of_sum = v.sum(1).pow(2)
        sum_of_square = v.pow(2).sum(1)
        pairwise = 0.5 * (square_of_sum - sum_of_square).sum(-1)
        return self.bias + self.linear(idx).sum((1, 2)) + pairwise


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 17)
    idx, y = make_records(40_000, gen)
    train_idx, train_y, test_idx, test_y = idx[:34_000], y[:34_000], idx[34_000:], y[34_000:]

    model = FactorizationMachine(sum(FIELDS.values()), RANK)
    model.reset_parameters(break_ties=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500, eta_min=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            rows = torch.randint(0, len(train_idx), (1024,), generator=gen)
            loss = nn.functional.mse_loss(model(train_idx[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        test = nn.functional.mse_loss(model(test_idx), test_y).item()
    return {"metric": test, "better": "lower", "curve": curve}
