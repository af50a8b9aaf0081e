"""Sparse upcycling of a dense block into a soft mixture of experts, for a regression whose rule changes from regime to
regime. The experts are plain copies of one dense FFN and the router starts at zero, so all experts stay the same forever."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

N_EXP = 6
ID = "b_moe_upcycle"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["moe.router"]
    + [f"moe.experts.{i}.{p}" for i in range(N_EXP) for p in ("up", "down")],
    "onset": 0,
}


class FFN(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.up, self.down = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class SoftMoE(nn.Module):
    def __init__(self, dense, d, n_exp, diverse):
        super().__init__()
        self.experts = nn.ModuleList([copy.deepcopy(dense) for _ in range(n_exp)])
        self.router = nn.Linear(d, n_exp)
        if diverse:
            # re-draw the copies, small random router
            for e in self.experts:
                e.up.reset_parameters()
                e.down.reset_parameters()
        else:
            nn.init.zeros_(self.router.weight)
            nn.init.zeros_(self.router.bias)

    def forward(self, x):
        gates = self.router(x).softmax(-1)
        outs = torch.stack([e(x) for e in self.experts], -1)
        return (outs * gates.unsqueeze(-2)).sum(-1), gates


class Net(nn.Module):
    def __init__(self, d_in, d, diverse):
        super().__init__()
        self.stem = nn.Linear(d_in, d)
        self.norm = nn.LayerNorm(d)
        self.moe = SoftMoE(FFN(d, 6), d, N_EXP, diverse)
        self.head = nn.Linear(d, 2)

    def forward(self, x):
        h = self.stem(x)
        y, gates = self.moe(self.norm(h))
        return self.head(h + y), gates


def regimes(g, n, centers, maps):
    k = torch.randint(len(centers), (n,), generator=g)
    z = torch.randn(n, 8, generator=g)
    x = torch.cat([centers[k] + 0.15 * torch.randn(n, 4, generator=g), z], 1)
    y = torch.einsum("nij,nj->ni", maps[k], z)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 100)
    centers = 1.5 * torch.randn(6, 4, generator=g)
    maps = torch.randn(6, 2, 8, generator=g) / 8**0.5
    xtr, ytr = regimes(g, 6000, centers, maps)
    xte, yte = regimes(g, 2000, centers, maps)

    model = Net(12, 32, diverse=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    n_steps = 900
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    curve = []
    with observe(model, optimizer):
        for step in range(n_steps):
            idx = torch.randint(len(xtr), (128,), generator=g)
            pred, gates = model(xtr[idx])
            load = gates.mean(0)
            balance = N_EXP * (load * load).sum() - 1.0
            loss = F.mse_loss(pred, ytr[idx]) + 0.01 * balance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        err = F.mse_loss(model(xte)[0], yte).item()
    return {"metric": err, "better": "lower", "curve": curve}
