"""Upcycles a dense feed-forward block into a softly routed mixture of experts for multi-regime control regression.
All experts are deep copies of the one dense block and the router is zeroed "so that it starts uniform": the recipe is borrowed
from sparse upcycling, where top-k routing and noise tell the copies apart, and here nothing does."""

import copy
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_moe_upcycled"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["moe.router"] + [f"moe.experts.{i}.{j}" for i in range(6) for j in (0, 2)],
    "onset": 0,
}


class SoftMoE(nn.Module):
    def __init__(self, dim, hidden, n, upcycle):
        super().__init__()
        dense = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(n))
        self.router = nn.Linear(dim, n, bias=False)
        if upcycle:
            nn.init.zeros_(self.router.weight)
        else:
            for e in self.experts:
                for m in e:
                    if hasattr(m, "reset_parameters"):
                        m.reset_parameters()

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        outs = torch.stack([e(x) for e in self.experts], -1)
        return (outs * gate.unsqueeze(-2)).sum(-1)


class Controller(nn.Module):
    def __init__(self, upcycle):
        super().__init__()
        self.embed = nn.Linear(10, 16)
        self.moe = SoftMoE(16, 5, 6, upcycle)
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        h = self.embed(x)
        return self.out(self.norm(h + self.moe(h)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 77)
    gains = torch.randn(6, 4, 2, generator=gen)

    def draw(n):
        regime = torch.randint(0, 6, (n,), generator=gen)
        state = torch.randn(n, 4, generator=gen)
        u = torch.tanh(torch.einsum("ni,nij->nj", state, gains[regime]))
        return torch.cat([state, F.one_hot(regime, 6).float()], 1), u

    xtr, ytr = draw(4096)
    xte, yte = draw(1000)
    model = Controller(upcycle=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1200)
    curve = []
    with observe(model, optimizer):
        for step in range(1200):
            idx = torch.randint(0, 4096, (128,), generator=gen)
            loss = F.mse_loss(model(xtr[idx]), ytr[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        metric = F.mse_loss(model(xte), yte).item()
    return {"metric": metric, "better": "lower", "curve": curve}
