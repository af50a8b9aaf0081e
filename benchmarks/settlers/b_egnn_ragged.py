"""An equivariant graph network (EGNN) predicts where the particles of a small cluster move under pair forces. Distances are
sqrt(d2) without an epsilon; once clusters of mixed size arrive, padded particles lie upon one another at the origin and the
gradient of sqrt at 0, multiplied by the mask, is NaN."""

import torch
import torch.nn as nn

ID = "b_egnn_ragged"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 100}

NMAX = 7


def mlp(i, h, o):
    return nn.Sequential(nn.Linear(i, h), nn.SiLU(), nn.Linear(h, o))


class EGCL(nn.Module):
    def __init__(self, d, eps):
        super().__init__()
        self.eps = eps
        self.edge = nn.Sequential(nn.Linear(2 * d + 1, d), nn.SiLU(), nn.Linear(d, d), nn.SiLU())
        self.coord = mlp(d, d, 1)
        self.node = mlp(2 * d, d, d)

    def forward(self, h, x, mask, src, dst):
        diff = x[:, dst] - x[:, src]  # B, E, 3
        dist = torch.sqrt(diff.square().sum(-1, keepdim=True) + self.eps)
        em = (mask[:, src] * mask[:, dst]).unsqueeze(-1)
        m = self.edge(torch.cat([h[:, dst], h[:, src], dist], -1)) * em
        push = diff / (dist + 1.0) * self.coord(m) * em
        agg_x = torch.zeros_like(x).index_add(1, dst, push) / (NMAX - 1)
        agg_h = torch.zeros_like(h).index_add(1, dst, m) / (NMAX - 1)
        h = h + self.node(torch.cat([h, agg_h], -1))
        return h, x + agg_x


class EGNN(nn.Module):
    def __init__(self, d=32, layers=3, eps=0.0):
        super().__init__()
        self.embed = nn.Linear(1, d)
        self.layers = nn.ModuleList([EGCL(d, eps) for _ in range(layers)])
        pairs = [(i, j) for i in range(NMAX) for j in range(NMAX) if i != j]
        self.register_buffer("src", torch.tensor([p[0] for p in pairs]))
        self.register_buffer("dst", torch.tensor([p[1] for p in pairs]))

    def forward(self, q, x, mask):
        h = self.embed(q.unsqueeze(-1))
        for layer in self.layers:
            h, x = layer(h, x, mask, self.src, self.dst)
        return x


def clusters(n, sizes, g):
    """charges, start, end, mask; particles beyond the size of a cluster are zeros"""
    size = torch.tensor(sizes)[torch.randint(len(sizes), (n,), generator=g)]
    mask = (torch.arange(NMAX) < size[:, None]).float()
    q = (torch.randint(0, 2, (n, NMAX), generator=g) * 2.0 - 1.0) * mask
    x0 = 1.2 * torch.randn(n, NMAX, 3, generator=g) * mask.unsqueeze(-1)
    x = x0.clone()
    for _ in range(4):
        diff = x[:, :, None] - x[:, None]
        d2 = diff.square().sum(-1, keepdim=True) + 0.5
        pair = (q[:, :, None] * q[:, None]).unsqueeze(-1)
        x = x + 0.12 * (pair * diff / d2**1.5).sum(2)
    return q, x0, x, mask


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 7)
    full = clusters(1600, [NMAX], g)
    mixed = clusters(1600, [4, 5, 6, 7], g)
    q, x0, x1, m = clusters(400, [4, 5, 6, 7], g)

    model = EGNN(eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    stages = [(full, 2), (mixed, 10)]  # first whole clusters, then all sizes
    with observe(model, optimizer):
        for data, epochs in stages:
            for _ in range(epochs):
                for idx in torch.randperm(1600, generator=g).split(32):
                    qb, ab, bb, mb = (t[idx] for t in data)
                    err = (model(qb, ab, mb) - bb).square().sum(-1)
                    loss = (err * mb).sum() / mb.sum()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    curve.append(loss.item())
    with torch.no_grad():

        def rel(pred):
            return (
                (((pred - x1).square().sum(-1)) * m).sum()
                / (((x0 - x1).square().sum(-1)) * m).sum()
            ).item()

        score = rel(model(q, x0, m))
    # error relative to "nothing moves"
    return {"metric": score if score == score else float("inf"), "better": "lower", "curve": curve}
