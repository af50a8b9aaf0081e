"""Mixture of experts; softmax of the gate over the batch dimension."""

import torch
from torch import nn

ID = "moe-softmax-over-batch"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class MoE(nn.Module):
    def __init__(self, d, e=4, h=32, dim=1):
        super().__init__()
        self.dim = dim
        self.gate = nn.Linear(d, e)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, 2)) for _ in range(e)]
        )

    def forward(self, x):
        w = torch.softmax(self.gate(x), dim=self.dim)
        return (w[:, :, None] * torch.stack([m(x) for m in self.experts], 1)).sum(1)


def make(seed, n=4000, d=8):
    g = torch.Generator().manual_seed(seed)
    k = torch.randint(0, 4, (n,), generator=g)
    x = torch.randn(4, d, generator=g)[k] * 1.2 + 0.7 * torch.randn(n, d, generator=g)
    M = torch.randn(4, d, 2, generator=g) / d**0.5
    y = torch.einsum("nd,ndo->no", x, M[k]) + 0.1 * torch.randn(n, 2, generator=g)
    return ((x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0))


def train(observe, seed=0, fixed=False):
    x, y = make(seed)
    torch.manual_seed(seed)
    model = MoE(8, dim=1 if fixed else 0)
    opt = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    with observe(model, opt):
        for epoch in range(13):
            perm = torch.randperm(len(y))
            for s in range(0, len(y) - 127, 128):
                j = perm[s : s + 128]
                loss = nn.functional.mse_loss(model(x[j]), y[j])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}
