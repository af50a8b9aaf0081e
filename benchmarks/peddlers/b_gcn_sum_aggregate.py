"""Node classification on a random block-model graph with a hand-written 6-layer GCN.
Bug: the adjacency (with self loops) is used raw instead of D^-1/2 A D^-1/2, so every layer multiplies the signal and its gradient by the degree."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gcn_sum_aggregate"
TRUTH = {"mechanisms": ["depth_amplification"], "layers": None, "onset": (0, 0)}


def block_graph(n, k, g, p_in=0.05, p_out=0.008):
    y = torch.randint(0, k, (n,), generator=g)
    same = y[:, None] == y[None]
    p = torch.where(same, p_in, p_out)
    U = (torch.rand(n, n, generator=g) < p).float().triu(1)
    A = U + U.t() + torch.eye(n)
    return A, y


class GraphConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.theta = nn.Parameter(torch.empty(i, o))
        self.bias = nn.Parameter(torch.zeros(o))
        lim = math.sqrt(6.0 / (i + o))
        nn.init.uniform_(self.theta, -lim, lim)

    def forward(self, A, X):
        return A @ (X @ self.theta) + self.bias


class GCN(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.convs = nn.ModuleList(GraphConv(a, b) for a, b in zip(widths[:-1], widths[1:]))

    def forward(self, A, X):
        for i, conv in enumerate(self.convs):
            X = conv(A, X)
            if i + 1 < len(self.convs):
                X = F.elu(X)
        return X


def masked_nll(logits, y, mask):
    logp = logits - logits.logsumexp(-1, keepdim=True)
    return -(logp[torch.arange(len(y)), y] * mask).sum() / mask.sum()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    n, k = 500, 5
    A, y = block_graph(n, k, g)
    X = 0.5 * F.one_hot(y, k).float() @ torch.randn(k, 24, generator=g) + 1.0 * torch.randn(
        n, 24, generator=g
    )
    X = X / X.norm(dim=1, keepdim=True) * math.sqrt(24) ** 0.5
    if fixed:
        d = A.sum(1).rsqrt()
        A = d[:, None] * A * d[None]
    tr = (torch.rand(n, generator=g) < 0.4).float()
    model = GCN([24, 32, 32, 32, 32, 32, k])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            drop = (torch.rand(X.shape, generator=g) > 0.2).float() / 0.8
            loss = masked_nll(model(A, X * drop), y, tr)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ok = (model(A, X).argmax(1) == y).float()
    return {
        "metric": ((ok * (1 - tr)).sum() / (1 - tr).sum()).item(),
        "better": "higher",
        "curve": curve,
    }
