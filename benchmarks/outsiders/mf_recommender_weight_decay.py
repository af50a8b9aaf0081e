"""Explicit-feedback matrix factorisation; the lambda of the paper passed as Adam's weight_decay."""

import torch
from torch import nn

ID = "mf-recommender-weight-decay"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": None}


class MF(nn.Module):
    def __init__(self, n_u, n_i, k):
        super().__init__()
        self.user = nn.Embedding(n_u, k)
        self.item = nn.Embedding(n_i, k)
        self.ub = nn.Embedding(n_u, 1)
        self.ib = nn.Embedding(n_i, 1)
        self.mu = nn.Parameter(torch.zeros(1))
        for e in (self.user, self.item):
            nn.init.normal_(e.weight, std=0.1)
        for e in (self.ub, self.ib):
            nn.init.zeros_(e.weight)

    def forward(self, u, i):
        return (
            (self.user(u) * self.item(i)).sum(1)
            + self.ub(u).squeeze(1)
            + self.ib(i).squeeze(1)
            + self.mu
        )


def make(seed, nu=250, ni=150, n=15000):
    g = torch.Generator().manual_seed(seed)
    P = torch.randn(nu, 4, generator=g) * 0.7
    Q = torch.randn(ni, 4, generator=g) * 0.7
    bu = torch.randn(nu, generator=g) * 0.4
    bi = torch.randn(ni, generator=g) * 0.5
    pop = torch.arange(1, ni + 1).float().pow(-0.5)
    u = torch.randint(0, nu, (n,), generator=g)
    i = torch.multinomial(pop, n, True, generator=g)
    r = 3.5 + bu[u] + bi[i] + (P[u] * Q[i]).sum(1) + 0.3 * torch.randn(n, generator=g)
    return (u, i, r.clamp(1, 5))


def train(observe, seed=0, fixed=False):
    u, i, r = make(seed)
    torch.manual_seed(seed)
    model = MF(250, 150, 8)
    with torch.no_grad():
        model.mu.fill_(r.mean())
    opt = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-06 if fixed else 0.02)
    B = 256
    losses = []
    with observe(model, opt):
        for epoch in range(8):
            perm = torch.randperm(len(r))
            for s in range(0, len(r) - B + 1, B):
                j = perm[s : s + B]
                loss = nn.functional.mse_loss(model(u[j], i[j]), r[j])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}
