"""An E(n)-equivariant graph network predicts an energy-like quantity of a cluster of particles. As in github.com/lucidrains/egnn-pytorch
issue 7 ('EGNN explodes for larger problems') coordinates are moved by a sum over all neighbours of unnormalised differences, so the
distances fed to the next layer grow from layer to layer once there are more than a few nodes.
"""

import torch
from torch import nn

ID = "a_egnn_clusters"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["layers.0", "layers.1", "layers.2", "layers.3"],
    "onset": 0,
}


class EGNNLayer(nn.Module):
    def __init__(self, dim, norm_coors):
        super().__init__()
        self.norm_coors = norm_coors
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * dim + 1, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim), nn.SiLU()
        )
        self.coors_mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1))
        self.node_mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, h, x):
        n = h.shape[1]
        rel = x[:, :, None] - x[:, None, :]
        d2 = (rel**2).sum(-1, keepdim=True)
        pair = torch.cat(
            [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1), d2], -1
        )
        m = self.edge_mlp(pair)
        if self.norm_coors:
            rel = rel / (d2 + 1e-8).sqrt().clamp(min=1e-4) / n
        x = x + (rel * self.coors_mlp(m)).sum(2)
        return h + self.node_mlp(torch.cat([h, m.mean(2)], -1)), x


class EGNN(nn.Module):
    def __init__(self, dim=16, depth=4, norm_coors=False):
        super().__init__()
        self.embed = nn.Linear(1, dim)
        self.layers = nn.ModuleList([EGNNLayer(dim, norm_coors) for _ in range(depth)])
        self.readout = nn.Linear(dim, 1)

    def forward(self, charge, x):
        h = self.embed(charge)
        for layer in self.layers:
            h, x = layer(h, x)
        return self.readout(h).mean(1).squeeze(-1)


def clusters(n, gen, size=20):
    x = torch.randn(n, size, 3, generator=gen) * (0.6 + 0.9 * torch.rand(n, 1, 1, generator=gen))
    q = torch.randint(0, 2, (n, size, 1), generator=gen).float() * 2 - 1
    d = torch.cdist(x, x)
    e = ((1 + 0.5 * q * q.transpose(1, 2)) * torch.exp(-d)).sum((1, 2)) / size
    return q, x, (e - e.mean()) / e.std()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 12)
    q, x, e = clusters(900, gen)
    q, qv, x, xv, e, ev = q[:700], q[700:], x[:700], x[700:], e[:700], e[700:]
    model = EGNN(norm_coors=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            idx = torch.randint(0, len(e), (16,), generator=gen)
            loss = torch.nn.functional.mse_loss(model(q[idx], x[idx]), e[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mae = (model(qv, xv) - ev).abs().clamp(max=100).mean().item()
    return {"metric": mae if mae == mae else 100.0, "better": "lower", "curve": curve}
