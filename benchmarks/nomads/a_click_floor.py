"""A factorization machine with a small deep part predicts ad clicks. Nothing is wrong: with the output bias set to the click rate the
log loss starts at about 0.36 and looks flat for the whole run, since clicks are mostly chance and the attainable loss is only a few
hundredths lower. The ranking quality is close to that of the true click probabilities, which is what the metric reports."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_click_floor"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

FIELDS = [20, 16, 8, 12]


class World:
    def __init__(self, g):
        self.bias = [0.35 * torch.randn(f, generator=g) for f in FIELDS]
        self.vec = [0.5 * torch.randn(f, 3, generator=g) for f in FIELDS]

    def impressions(self, n, g):
        x = torch.stack([torch.randint(0, f, (n,), generator=g) for f in FIELDS], 1)
        z = sum(b[x[:, k]] for k, b in enumerate(self.bias)) - 2.2
        z = z + (self.vec[0][x[:, 0]] * self.vec[1][x[:, 1]]).sum(1)
        p = torch.sigmoid(z)
        return x, torch.bernoulli(p, generator=g), p


class DeepFM(nn.Module):
    def __init__(self, rate, dim=6):
        super().__init__()
        total = sum(FIELDS)
        self.register_buffer("offset", torch.tensor([0] + FIELDS[:-1]).cumsum(0))
        self.linear = nn.Embedding(total, 1)
        self.factors = nn.Embedding(total, dim)
        self.deep = nn.Sequential(nn.Linear(dim * len(FIELDS), 32), nn.ReLU(), nn.Linear(32, 1))
        self.bias = nn.Parameter(torch.tensor(math.log(rate / (1 - rate))))
        nn.init.zeros_(self.linear.weight)
        nn.init.normal_(self.factors.weight, std=0.1)

    def forward(self, x):
        x = x + self.offset
        e = self.factors(x)
        fm = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)
        return self.bias + self.linear(x).sum((1, 2)) + fm + self.deep(e.flatten(1)).squeeze(1)


def auc(score, y):
    rank = score.double().argsort().argsort().double() + 1
    pos = y.sum().double()
    return ((rank[y == 1].sum() - pos * (pos + 1) / 2) / (pos * (len(y) - pos))).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 55)
    world = World(g)
    x, y, _ = world.impressions(120000, g)
    xv, yv, pv = world.impressions(20000, g)
    model = DeepFM(y.mean().item())
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.04)
    curve = []
    with observe(model, optimizer):
        for idx in torch.randperm(len(x), generator=g).split(160):
            loss = F.binary_cross_entropy_with_logits(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        share = (auc(model(xv), yv) - 0.5) / (auc(pv, yv) - 0.5)
    return {"metric": share, "better": "higher", "curve": curve}
