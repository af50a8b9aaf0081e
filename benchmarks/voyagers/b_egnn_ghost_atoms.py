"""Equivariant message passing on small charge clusters; after the curriculum adds clusters padded
with ghost atoms at the origin, the plain sqrt of a zero distance has an infinite derivative."""

import torch
from torch import nn

ID = "egnn-ghost-atoms"
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["layers", "layers.0", "layers.1", "layers.2"],
    "onset": 120,
}


class EquivariantLayer(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * dim + 1, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU()
        )
        self.coord_mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1))
        self.node_mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        nn.init.xavier_uniform_(self.coord_mlp[2].weight, gain=0.05)

    def forward(self, h, x, src, dst, mask):
        diff = x[:, dst] - x[:, src]
        dist = (diff.pow(2).sum(-1, keepdim=True) + self.eps).sqrt()
        pair = (mask[:, dst] * mask[:, src]).unsqueeze(-1)
        m = self.edge_mlp(torch.cat([h[:, dst], h[:, src], dist], -1)) * pair
        shift = diff / (1 + dist) * self.coord_mlp(m) * pair
        n = h.shape[1] - 1
        x = x + torch.zeros_like(x).index_add(1, dst, shift) / n
        agg = torch.zeros_like(h).index_add(1, dst, m) / n
        return h + self.node_mlp(torch.cat([h, agg], -1)), x


class EGNN(nn.Module):
    def __init__(self, dim=32, depth=3, eps=0.0):
        super().__init__()
        self.embed = nn.Linear(1, dim)
        self.layers = nn.ModuleList(EquivariantLayer(dim, eps) for _ in range(depth))
        self.readout = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1))

    def forward(self, q, x, mask):
        n = q.shape[1]
        grid = torch.cartesian_prod(torch.arange(n), torch.arange(n))
        src, dst = grid[grid[:, 0] != grid[:, 1]].T
        h = self.embed(q.unsqueeze(-1))
        for layer in self.layers:
            h, x = layer(h, x, src, dst, mask)
        return (self.readout(h).squeeze(-1) * mask).sum(1)


def clusters(count, n_real, n=7):
    mask = (torch.arange(n) < n_real).float().expand(count, n)
    x = torch.randn(count, n, 3) * mask.unsqueeze(-1)
    q = (torch.randint(0, 2, (count, n)) * 2.0 - 1) * mask
    r = torch.cdist(x, x)
    energy = (q[:, :, None] * q[:, None, :] * torch.exp(-r)).triu(1).sum((1, 2))
    return q, x, mask.clone(), energy


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    full, small = clusters(1200, 7), clusters(400, 5)
    test = [torch.cat(p) for p in zip(clusters(200, 7), clusters(100, 5))]
    mixed = [torch.cat(p) for p in zip(full, small)]
    model = EGNN(eps=1e-8 if fixed else 0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    steps, curve = 320, []
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    with observe(model, optimizer):
        for step in range(steps):
            pool = full if step < 120 else mixed
            idx = torch.randint(0, len(pool[0]), (32,))
            q, x, mask, energy = (p[idx] for p in pool)
            loss = nn.functional.mse_loss(model(q, x, mask), energy)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        pred = torch.nan_to_num(model(*test[:3]))
    r2 = 1 - (pred - test[3]).pow(2).mean() / test[3].var()
    return {"metric": r2.item(), "better": "higher", "curve": curve}
