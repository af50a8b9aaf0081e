"""GCN + DropEdge on a stochastic block model; D^-1/2 of an isolated node."""

import torch
from torch import nn

ID = "gcn-isolated-node-degree-zero"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["conv1"], "onset": 36}


class GCNConv(nn.Module):
    def __init__(self, i, o, safe):
        super().__init__()
        self.lin = nn.Linear(i, o)
        self.safe = safe

    def forward(self, x, adj):
        deg = adj.sum(1)
        if self.safe:
            deg = deg.clamp(min=1)
        d = deg.pow(-0.5)
        a = d[:, None] * adj * d[None, :]
        return a @ self.lin(x)


class GCN(nn.Module):
    def __init__(self, i, h, c, safe):
        super().__init__()
        self.conv1 = GCNConv(i, h, safe)
        self.conv2 = GCNConv(h, c, safe)
        self.drop = nn.Dropout(0.3)

    def forward(self, x, adj):
        return self.conv2(self.drop(torch.relu(self.conv1(x, adj))), adj)


def make(seed, n=240, c=4, f=16):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % c
    p = torch.where(y[:, None] == y[None], 0.16, 0.015)
    a = (torch.rand(n, n, generator=g) < p).float().triu(1)
    a = a + a.T
    cent = torch.randn(c, f, generator=g)
    x = cent[y] * 0.5 + torch.randn(n, f, generator=g)
    for v in range(n):
        while a[v].sum() < 4:
            w = int(torch.randint(0, n, (1,), generator=g))
            if w != v:
                a[v, w] = a[w, v] = 1.0
    return (x, a, y)


def drop_edge(adj, p):
    keep = (torch.rand_like(adj) >= p).float().triu(1)
    return adj * (keep + keep.T)


def train(observe, seed=0, fixed=False):
    x, a, y = make(seed)
    torch.manual_seed(seed)
    tr = torch.rand(len(y)) < 0.5
    model = GCN(16, 32, 4, fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.0005)
    first = None
    losses = []
    with observe(model, opt):
        for step in range(300):
            model.train()
            adj = drop_edge(a, 0.2)
            if first is None and bool((adj.sum(1) == 0).any()):
                first = step
            out = model(x, adj)
            loss = nn.functional.cross_entropy(out[tr], y[tr])
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-20:]) / 20, "better": "lower", "first_isolated": first}
