"""Basketball analytics: point margin of two five-man lineups from player strength plus pairwise 'chemistry' (a factorization machine).
All latent factors were filled with the constant 0.1 "so that every player starts equal", so all eight factor columns remain one and the
same column. Analysts who come from regression, where the starting value does not matter, do this."""

import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_lineup_chemistry"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["factors"], "onset": 0}

PLAYERS, ROLES = 60, 8


class LineupFM(nn.Module):
    def __init__(self, k=ROLES, spread=False):
        super().__init__()
        self.strength = nn.Embedding(PLAYERS, 1)
        self.factors = nn.Embedding(PLAYERS, k)
        self.scale = nn.Parameter(torch.ones(k))
        nn.init.zeros_(self.strength.weight)
        if spread:
            nn.init.normal_(self.factors.weight, 0.1, 0.1)
        else:
            nn.init.constant_(self.factors.weight, 0.1)

    def side(self, ids):
        lin = self.strength(ids).sum((1, 2))
        v = self.factors(ids)
        pair = 0.5 * (v.sum(1) ** 2 - (v**2).sum(1))
        return lin + (pair * self.scale).sum(1)

    def forward(self, home, away):
        return self.side(home) - self.side(away)


def season(n, g, skill, latent):
    ids = torch.stack([torch.randperm(PLAYERS, generator=g)[:10] for _ in range(n)])
    sign = torch.tensor([1.0, 1.0, 1.0, -1.0])

    def value(t):
        v = latent[t]
        return skill[t].sum(1) + (0.5 * (v.sum(1) ** 2 - (v**2).sum(1)) * sign).sum(1)

    margin = value(ids[:, :5]) - value(ids[:, 5:]) + 0.5 * torch.randn(n, generator=g)
    return ids[:, :5], ids[:, 5:], margin


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed * 13 + 1)
    skill = 0.5 * torch.randn(PLAYERS, generator=g)
    latent = 0.7 * torch.randn(PLAYERS, 4, generator=g)
    h, a, m = season(8000, g, skill, latent)
    hv, av, mv = season(1500, g, skill, latent)
    mu, sd = m.mean(), m.std()
    model = LineupFM(spread=fixed)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.08)
    huber = nn.HuberLoss(delta=2.0)
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            for ix in torch.randperm(len(m)).split(100):
                loss = huber(model(h[ix], a[ix]), (m[ix] - mu) / sd)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        rmse = ((model(hv, av) - (mv - mu) / sd) ** 2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
