"""A pairwise neural force field for an alloy is fitted to energies and forces (forces by double backward). One structure from the
database lists the two partial occupants of a mixed site as two atoms at the very same position, and the interatomic distance is a bare
square root. Textbook definition of a distance, and every tutorial structure has well separated atoms, so nobody expects it."""

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_alloy_force_field"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["distance"], "onset": 57}

N_AT, BATCH = 8, 32


def reference(pos, spec):
    """Smooth soft-core pair energies, which is what the 'DFT' gives here."""
    pos = pos.clone().requires_grad_(True)
    d2 = (pos[:, :, None] - pos[:, None]).pow(2).sum(-1)
    amp = 1.0 + 0.5 * (spec[:, :, None] + spec[:, None]) - 1.4 * spec[:, :, None] * spec[:, None]
    e = amp * torch.exp(-d2 / 1.5) - 0.7 * torch.exp(-((d2 - 4) ** 2) / 8)
    off = 1 - torch.eye(N_AT)
    energy = 0.5 * (e * off).sum((1, 2))
    force = -torch.autograd.grad(energy.sum(), pos)[0]
    return energy.detach(), force


def structures(g, n):
    grid = (
        torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
        * 1.7
    )
    pos = grid[None] + 0.35 * torch.randn(n, N_AT, 3, generator=g)
    spec = torch.randint(0, 2, (n, N_AT), generator=g).float()
    return pos, spec


class Distance(nn.Module):
    def __init__(self, soft):
        super().__init__()
        self.soft = soft

    def forward(self, pos):
        i, j = torch.triu_indices(N_AT, N_AT, 1)
        vec = pos[:, i] - pos[:, j]
        return torch.sqrt((vec**2).sum(-1) + self.soft), i, j


class RadialBasis(nn.Module):
    def __init__(self, n=16, cut=5.0):
        super().__init__()
        self.register_buffer("mu", torch.linspace(0, cut, n))
        self.gamma = (n / cut) ** 2 / 2

    def forward(self, r):
        return torch.exp(-self.gamma * (r[..., None] - self.mu) ** 2)


class PairPotential(nn.Module):
    def __init__(self, soft):
        super().__init__()
        self.species = nn.Embedding(2, 8)
        self.distance = Distance(soft)
        self.rbf = RadialBasis()
        self.filter = nn.Linear(16, 32)
        self.gate = nn.Linear(8, 32)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, pos, spec):
        r, i, j = self.distance(pos)
        s = self.species(spec.long())
        h = self.filter(self.rbf(r)) * self.gate(s[:, i] * s[:, j])
        return self.mlp(h).squeeze(-1).sum(1)


def energy_and_forces(net, pos, spec, training=True):
    pos = pos.detach().requires_grad_(True)
    e = net(pos, spec)
    f = -torch.autograd.grad(e.sum(), pos, create_graph=training)[0]
    return e, f


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 100)
    pos, spec = structures(g, BATCH * 70)
    k = 57 * BATCH + 11
    pos[k, 3] = pos[k, 2]  # "Cu0.5 Zn0.5" written as two sites
    spec[k, 3], spec[k, 2] = 1.0, 0.0
    E, Fo = reference(pos, spec)
    tp, tsp = structures(g, 300)
    Et, Ft = reference(tp, tsp)
    e_mean = E.mean()
    net = PairPotential(1e-6 if fixed else 0.0)
    optim = torch.optim.Adam(net.parameters(), lr=3e-3)
    history = []
    with observe(net, optim):
        for epoch in range(8):
            for b in range(0, len(pos), BATCH):
                sl = slice(b, b + BATCH)
                e, f = energy_and_forces(net, pos[sl], spec[sl])
                loss = 0.01 * ((e - E[sl] + e_mean) ** 2).mean() + ((f - Fo[sl]) ** 2).mean()
                optim.zero_grad(set_to_none=True)
                loss.backward()
                optim.step()
                history.append(loss.item())
    _, f = energy_and_forces(net, tp, tsp, training=False)
    mae = (f - Ft).abs().mean().item()
    if not np.isfinite(mae):
        mae = 1e3
    return {"metric": mae, "better": "lower", "curve": history}
