"""E(n)-equivariant graph net on atom clusters. Edge lengths are (d**2).sum().sqrt(); one shard holds an entry with an atom
listed twice (an alternate location), so that a learned coordinate difference is exactly zero and the root's derivative infinite."""

import torch
import torch.nn as nn

ID = "b_egnn_altloc"
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["layers.1", "layers.2"],
    "onset": (230, 230),
}


class EGCL(nn.Module):
    def __init__(self, h, eps):
        super().__init__()
        self.eps = eps
        self.edge = nn.Sequential(nn.Linear(2 * h + 1, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU())
        self.coord = nn.Sequential(nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 1, bias=False))
        self.node = nn.Sequential(nn.Linear(2 * h, h), nn.SiLU(), nn.Linear(h, h))
        nn.init.xavier_uniform_(self.coord[2].weight, gain=0.05)

    def forward(self, h, x, src, dst):
        n = h.shape[1]
        diff = x[:, src] - x[:, dst]
        r = (diff.pow(2).sum(-1, keepdim=True) + self.eps).sqrt()
        m = self.edge(torch.cat([h[:, src], h[:, dst], r], -1))
        B = h.shape[0]
        agg = torch.zeros(B, n, m.shape[-1]).index_add(1, src, m)
        shift = torch.zeros(B, n, 3).index_add(1, src, diff / (1 + r) * self.coord(m)) / (n - 1)
        return h + self.node(torch.cat([h, agg / n], -1)), x + shift


class EGNN(nn.Module):
    def __init__(self, n_atom, h=32, depth=3, eps=0.0):
        super().__init__()
        self.embed = nn.Embedding(4, h)
        self.layers = nn.ModuleList(EGCL(h, eps) for _ in range(depth))
        self.readout = nn.Sequential(nn.Linear(h, h), nn.SiLU(), nn.Linear(h, 1))
        pairs = [(i, j) for i in range(n_atom) for j in range(n_atom) if i != j]
        self.register_buffer("src", torch.tensor([p[0] for p in pairs]))
        self.register_buffer("dst", torch.tensor([p[1] for p in pairs]))

    def forward(self, z, x):
        h = self.embed(z)
        for layer in self.layers:
            h, x = layer(h, x, self.src, self.dst)
        return self.readout(h).mean(1)[:, 0]


def clusters(n, q, g, atoms=7):
    z = torch.randint(0, 4, (n, atoms), generator=g)
    x = torch.randn(n, atoms, 3, generator=g) * 1.3
    return z, x, energy(z, x, q)


def energy(z, x, q):
    d = (x[:, :, None] - x[:, None]).pow(2).sum(-1)
    qq = q[z][:, :, None] * q[z][:, None]
    off = 1 - torch.eye(x.shape[1])
    return ((qq * torch.exp(-0.5 * d)) * off).sum((1, 2)) / 3.0


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(900 + seed)
    q = torch.tensor([-1.2, -0.4, 0.6, 1.3])
    held = clusters(400, q, g)
    model = EGNN(7, eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            z, x, y = clusters(48, q, g)
            if step == 230:
                z[5, 3], x[5, 3] = z[5, 2], x[5, 2]
                y = energy(z, x, q)
            loss = nn.functional.mse_loss(model(z, x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(held[0], held[1]) - held[2]).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
