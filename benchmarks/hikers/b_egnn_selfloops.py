"""E(n)-equivariant network predicting the energy of small clusters. For the second stage the graph is built with self loops (config of another dataset);
the distance of a node to itself is sqrt(0), whose gradient is infinite as soon as the coordinates come from a layer."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_egnn_selfloops"
STAGE = 250
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["layers.1.dist", "layers.2.dist", "layers.1", "layers.2"],
    "onset": (STAGE, STAGE),
}


class PairDistance(nn.Module):
    def forward(self, x, src, dst):
        rel = x[:, src] - x[:, dst]
        return rel, rel.pow(2).sum(-1, keepdim=True).sqrt()


class EGCL(nn.Module):
    def __init__(self, d, move=True):
        super().__init__()
        self.dist = PairDistance()
        self.move = move
        self.edge = nn.Sequential(nn.Linear(2 * d + 1, d), nn.SiLU(), nn.Linear(d, d), nn.SiLU())
        self.node = nn.Sequential(nn.Linear(2 * d, d), nn.SiLU(), nn.Linear(d, d))
        if move:
            self.coord = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 1, bias=False))
            nn.init.xavier_uniform_(self.coord[-1].weight, gain=0.1)

    def forward(self, h, x, src, dst):
        rel, r = self.dist(x, src, dst)
        m = self.edge(torch.cat([h[:, src], h[:, dst], r], -1))
        agg = torch.zeros_like(h).index_add_(1, dst, m)
        if self.move:
            x = x + torch.zeros_like(x).index_add_(1, dst, rel / (r + 1) * self.coord(m)) / 5
        return h + self.node(torch.cat([h, agg / 5], -1)), x


class EGNN(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.embed = nn.Embedding(3, d)
        self.layers = nn.ModuleList([EGCL(d), EGCL(d), EGCL(d, move=False)])
        self.read = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 1))

    def forward(self, z, x, edges):
        h = self.embed(z)
        for l in self.layers:
            h, x = l(h, x, *edges)
        return self.read(h).sum((1, 2))


def complete(n, loops=False):
    i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    keep = torch.ones(n, n, dtype=torch.bool) if loops else ~torch.eye(n, dtype=torch.bool)
    return i[keep], j[keep]


def clusters(n, g, N=6):
    z = torch.randint(0, 3, (n, N), generator=g)
    x = torch.randn(n, N, 3, generator=g) * 1.2
    q = torch.tensor([1.0, -1.0, 0.5])[z]
    r = torch.cdist(x, x)
    e = (q[:, :, None] * q[:, None] * torch.exp(-r) * (1 - torch.eye(N))).sum((1, 2)) / 2
    return z, x, e


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    Z, X, E = clusters(3000, g)
    Zv, Xv, Ev = clusters(500, g)
    mu, sd = E.mean(), E.std()
    E, Ev = (E - mu) / sd, (Ev - mu) / sd
    model = EGNN()
    opt = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    edges = complete(6)
    curve = []
    with observe(model, opt):
        for step in range(500):
            if step == STAGE:  # stage 2: smaller steps, larger batches
                for grp in opt.param_groups:
                    grp["lr"] *= 0.3
                edges = complete(6, loops=not fixed)
            i = torch.randint(0, len(Z), (32 if step < STAGE else 64,))
            loss = F.smooth_l1_loss(model(Z[i], X[i], edges), E[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(Zv, Xv, edges) - Ev).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
