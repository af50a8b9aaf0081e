"""Graph network that predicts node temperatures after diffusion; the degree clamp is inverted, so neighbour sums are never normalised and grow with every layer."""

import torch
from torch import nn

ID = "c-graph-heat-regression"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["convs"] + [f"convs.{i}" for i in range(6)] + [f"convs.{i}.neigh" for i in range(6)],
    "onset": 0,
}


def random_geometric_graph(n, radius, gen):
    pos = torch.rand(n, 2, generator=gen)
    adj = (torch.cdist(pos, pos) < radius).float()
    adj.fill_diagonal_(1.0)
    return pos, adj


def propagation_matrix(adj, fixed):
    """D^-1/2 A D^-1/2; isolated nodes must not divide by zero."""
    degree = adj.sum(1)
    degree = degree.clamp(min=1) if fixed else degree.clamp(max=1)
    inv_sqrt = degree.rsqrt()
    return inv_sqrt[:, None] * adj * inv_sqrt[None, :]


class SageConv(nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.own = nn.Linear(d_in, d_out)
        self.neigh = nn.Linear(d_in, d_out, bias=False)

    def forward(self, h, prop):
        return self.own(h) + self.neigh(prop @ h)


class HeatGNN(nn.Module):
    def __init__(self, d_in, width=40, depth=6):
        super().__init__()
        dims = [d_in] + [width] * depth
        self.convs = nn.ModuleList(SageConv(a, b) for a, b in zip(dims[:-1], dims[1:]))
        self.readout = nn.Linear(width, 1)

    def forward(self, x, prop):
        h = x
        for conv in self.convs:
            h = torch.relu(conv(h, prop))
        return self.readout(h).squeeze(-1)


def heat_case(walk, n, gen):
    sources = torch.zeros(n)
    hot = torch.randperm(n, generator=gen)[:20]
    sources[hot] = torch.randn(20, generator=gen) * 3
    temp = sources
    for _ in range(3):
        temp = 0.4 * temp + 0.6 * (walk @ temp)
    return sources, 4 * temp


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    n = 120
    pos, adj = random_geometric_graph(n, 0.19, gen)
    walk = adj / adj.sum(1, keepdim=True)
    coords = (pos - 0.5) / 0.29
    prop = propagation_matrix(adj, fixed)
    cases = [heat_case(walk, n, gen) for _ in range(160)]
    x = torch.stack([torch.cat([s[:, None], coords], 1) for s, _ in cases])
    y = torch.stack([t for _, t in cases])
    scale = y[:120].std()
    y = y / scale

    model = HeatGNN(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(280):
            pick = torch.randint(0, 120, (6,), generator=gen)
            loss = nn.functional.mse_loss(model(x[pick], prop), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = nn.functional.mse_loss(model(x[120:], prop), y[120:]).item()
    return {"metric": err, "better": "lower", "curve": curve}
