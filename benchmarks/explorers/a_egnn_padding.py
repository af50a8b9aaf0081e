"""Equivariant graph network on padded particle clouds; the pairwise distance is a bare sqrt, so
graphs with two padding nodes at the origin send NaN gradients through the masked pairs."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-egnn-padding-distance-sqrt"
LAYERS = ["layers", "layers.0", "layers.1", "layers.2"]
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": LAYERS, "onset": 60}
MAX_NODES = 8


class EGNNLayer(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.edge = nn.Sequential(nn.Linear(2 * dim + 1, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.coord = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1), nn.Tanh())
        self.node = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, h, x, pair, src, dst):
        diff = x[:, src] - x[:, dst]
        dist = torch.sqrt((diff**2).sum(-1, keepdim=True) + self.eps)
        m = F.silu(self.edge(torch.cat([h[:, src], h[:, dst], dist], -1))) * pair
        step = diff / (dist + 1) * self.coord(m) * pair
        x = x + torch.zeros_like(x).index_add(1, src, step) / MAX_NODES
        agg = torch.zeros_like(h).index_add(1, src, m)
        return h + self.node(torch.cat([h, agg / 4], -1)), x


class EGNN(nn.Module):
    def __init__(self, dim=32, depth=3, eps=0.0):
        super().__init__()
        self.charge = nn.Embedding(3, dim)
        self.layers = nn.ModuleList(EGNNLayer(dim, eps) for _ in range(depth))
        self.readout = nn.Sequential(nn.Linear(dim + 1, dim), nn.SiLU(), nn.Linear(dim, 1))
        ij = [(i, j) for i in range(MAX_NODES) for j in range(MAX_NODES) if i != j]
        self.register_buffer("src", torch.tensor([p[0] for p in ij]))
        self.register_buffer("dst", torch.tensor([p[1] for p in ij]))

    def forward(self, kind, pos, mask):
        h, x = self.charge(kind) * mask, pos
        pair = mask[:, self.src] * mask[:, self.dst]
        for layer in self.layers:
            h, x = layer(h, x, pair, self.src, self.dst)
        spread = (x - pos).pow(2).sum(-1, keepdim=True)
        return (self.readout(torch.cat([h, spread], -1)) * mask).sum((1, 2)) / 4


def make_clouds(sizes):
    n = len(sizes)
    mask = (torch.arange(MAX_NODES)[None] < sizes[:, None]).float()
    kind, pos = (
        torch.randint(0, 3, (n, MAX_NODES)),
        torch.randn(n, MAX_NODES, 3) * mask[..., None],
    )
    q = (kind - 1.0) * mask
    d2 = (pos[:, :, None] - pos[:, None]).pow(2).sum(-1)
    off = mask[:, :, None] * mask[:, None] * (1 - torch.eye(MAX_NODES))
    energy = ((q[:, :, None] * q[:, None] + 0.3) * torch.exp(-d2 / 2) * off).sum((1, 2)) / 2
    return kind, pos, mask[..., None], energy


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    sizes = torch.tensor([8] * 960 + [7] * 960 + [6] * 480 + [5] * 480 + [4] * 320)
    kind, pos, mask, y = make_clouds(sizes)
    test = make_clouds(torch.randint(4, 9, (512,)))
    mean, std = y.mean(), y.std()
    model = EGNN(eps=1e-6 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400, eta_min=1e-4)
    curve = []
    with observe(model, optimizer):
        for epoch in range(4):
            # the largest graphs go first, so that running out of memory shows at once
            order = torch.randperm(len(y)) if epoch else torch.arange(len(y))
            for i in order.split(32):
                loss = F.smooth_l1_loss(model(kind[i], pos[i], mask[i]), (y[i] - mean) / std)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                decay.step()
                curve.append(loss.item())
    with torch.no_grad():
        error = (model(*test[:3]) - (test[3] - mean) / std).abs()
    return {"metric": (error < 0.4).float().mean().item(), "better": "higher", "curve": curve}
