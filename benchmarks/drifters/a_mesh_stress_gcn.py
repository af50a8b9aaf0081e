"""A ten-layer graph network predicts the stress at the nodes of irregular finite-element meshes from loads and supports. Neighbours are
summed with the raw adjacency matrix, as in the first formula of the tutorial, instead of the degree-normalised one: each layer multiplies
signal and gradient by about the number of neighbours, and ten layers of it make both astronomical."""

import math

import numpy as np
import torch
import torch.nn as nn
from scipy.spatial import Delaunay

ID = "a_mesh_stress_gcn"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["layers"]
    + ["layers.%d" % i for i in range(10)]
    + ["layers.%d.lin" % i for i in range(10)],
    "onset": 0,
}

NODES = 50


def mesh(rng):
    pts = rng.random((NODES, 2))
    adj = np.zeros((NODES, NODES), dtype=np.float32)
    for tri in Delaunay(pts).simplices:
        for a in tri:
            for b in tri:
                if a != b:
                    adj[a, b] = 1
    load = np.zeros(NODES)
    load[rng.choice(NODES, 6, replace=False)] = rng.normal(size=6)
    support = (pts[:, 0] < 0.15).astype(float)
    lap = np.diag(adj.sum(1)) - adj + np.diag(5 * support + 0.3)
    disp = np.linalg.solve(lap, load)
    return (
        np.stack([load, support, pts[:, 0] - 0.5, pts[:, 1] - 0.5], 1).astype(np.float32),
        adj,
        disp.astype(np.float32),
    )


class Conv(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.lin = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.lin.weight, nonlinearity="relu")
        nn.init.zeros_(self.lin.bias)

    def forward(self, h, a):
        return torch.relu(self.lin(a @ h))


class MeshGCN(nn.Module):
    def __init__(self, width=32, depth=10):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.layers = nn.ModuleList(Conv(width) for _ in range(depth))
        self.head = nn.Linear(2 * width, 1)

    def forward(self, x, a):
        h0 = h = self.embed(x)
        for layer in self.layers:
            h = layer(h, a)
        return self.head(torch.cat([h0, h], -1)).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = [mesh(rng) for _ in range(360)]
    x, a, u = (torch.from_numpy(np.stack(z)) for z in zip(*data))
    a = a + torch.eye(NODES)
    if fixed:
        d = a.sum(-1).rsqrt()
        a = d[:, :, None] * a * d[:, None, :]
    u = (u - u[:300].mean()) / u[:300].std()
    model = MeshGCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    curve = []

    def one_step():
        b = torch.from_numpy(rng.choice(300, 12, replace=False))
        optimizer.zero_grad()
        loss = torch.mean((model(x[b], a[b]) - u[b]) ** 2)
        loss.backward()
        optimizer.step()
        return loss.item()

    with observe(model, optimizer):
        for _ in range(800):
            curve.append(one_step())
    with torch.no_grad():
        err = torch.mean((model(x[300:], a[300:]) - u[300:]) ** 2).item()
    return {"metric": err if math.isfinite(err) else 1e12, "better": "lower", "curve": curve}
