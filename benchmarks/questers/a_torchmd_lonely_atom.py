"""Equivariant message passing on small molecules (torchmd/torchmd-net issue 77): an atom beyond the cutoff of all others
keeps a vector feature of exactly zero, and torch.norm of it has an infinite (NaN) derivative. Such molecules are in the
second data shard, which is opened at step 180. Repair: add eps under the root."""

import torch
from torch import nn

ID = "a_torchmd_lonely_atom"
SHARD2 = 180
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["readout.vnorm", "readout"],
    "onset": (SHARD2, SHARD2),
}


class VectorNorm(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, v):  # (B, N, 3, C) -> (B, N, C)
        return torch.sqrt((v * v).sum(2) + self.eps)


class Interaction(nn.Module):
    def __init__(self, dim, n_rbf):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(n_rbf, dim), nn.SiLU(), nn.Linear(dim, 2 * dim))
        self.atom = nn.Linear(dim, dim)
        self.out = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, s, v, rbf, unit, mask):
        ws, wv = (self.filter(rbf) * mask[..., None]).chunk(2, -1)
        h = self.atom(s)[:, None]
        s = s + self.out((ws * h).sum(2))
        v = v + ((wv * h)[:, :, :, None, :] * unit[..., None]).sum(2)
        return s, v


class Readout(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.vnorm = VectorNorm(eps)
        self.mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, 1))

    def forward(self, s, v):
        return self.mlp(torch.cat([s, self.vnorm(v)], -1)).sum((1, 2))


class Net(nn.Module):
    def __init__(self, dim=24, n_rbf=12, cutoff=3.0, eps=0.0):
        super().__init__()
        self.embedding = nn.Embedding(4, dim)
        self.layers = nn.ModuleList([Interaction(dim, n_rbf) for _ in range(2)])
        self.readout = Readout(dim, eps)
        self.cutoff = cutoff
        self.register_buffer("centers", torch.linspace(0.5, cutoff, n_rbf))

    def forward(self, z, pos):
        diff = pos[:, None] - pos[:, :, None]
        eye = torch.eye(z.shape[1], dtype=torch.bool)
        d = (diff.pow(2).sum(-1) + eye * 1.0).sqrt()
        mask = ((d < self.cutoff) & ~eye).float()
        rbf = torch.exp(-4 * (d[..., None] - self.centers) ** 2)
        s, v = self.embedding(z), torch.zeros(*z.shape, 3, self.embedding.embedding_dim)
        for layer in self.layers:
            s, v = layer(s, v, rbf, diff / d[..., None], mask)
        return self.readout(s, v)


def molecules(n, gen, lonely=False):
    z = torch.randint(0, 4, (n, 6), generator=gen)
    grid = torch.tensor(
        [[0.0, 0, 0], [1.4, 0, 0], [0, 1.4, 0], [0, 0, 1.4], [1.4, 1.4, 0], [0, 1.4, 1.4]]
    )
    pos = grid + 0.2 * torch.randn(n, 6, 3, generator=gen)
    if lonely:
        pos[::8, 5] += 7.0  # a desorbed fragment
    d = torch.cdist(pos, pos)
    q = torch.tensor([-1.0, -0.3, 0.4, 1.0])[z]
    e = (q[:, :, None] * q[:, None] * torch.exp(-d)).triu(1).sum((1, 2)) + 0.5 * q.sum(1)
    return z, pos, e


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    shard1, shard2 = molecules(1024, g), molecules(1024, g, lonely=True)
    test = molecules(400, g)
    model = Net(eps=1e-8 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(420):
            z, pos, e = shard1 if step < SHARD2 else shard2
            lo = (step * 32) % 1024
            loss = nn.functional.mse_loss(
                model(z[lo : lo + 32], pos[lo : lo + 32]), e[lo : lo + 32]
            )
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = nn.functional.mse_loss(model(*test[:2]), test[2]).item()
    return {"metric": mse / test[2].var().item(), "better": "lower", "curve": curve}
