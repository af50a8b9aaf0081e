"""Contrastive clustering of a graph: two MLP encoders on smoothed attributes, a cross-view similarity matrix against the adjacency,
and a small head on a few labelled nodes. optimizer.zero_grad() is missing from the loop; it does not converge.
After yueliu1999/HSAN issue 6."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_hsan_no_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (1, 10)}


class HSAN(nn.Module):
    def __init__(self, n_feat, dim=24, k=4):
        super().__init__()
        self.ae1 = nn.Sequential(nn.Linear(n_feat, 48), nn.ReLU(), nn.Linear(48, dim))
        self.ae2 = nn.Sequential(nn.Linear(n_feat, 48), nn.ReLU(), nn.Linear(48, dim))
        self.mix = nn.Parameter(torch.tensor(0.5))
        self.cls = nn.Linear(dim, k)

    def forward(self, x):
        z1, z2 = self.ae1(x), self.ae2(x)
        return (
            F.normalize(z1, dim=1),
            F.normalize(z2, dim=1),
            self.cls(self.mix * z1 + (1 - self.mix) * z2),
        )


def make_graph(seed, n=640, k=4, f=40):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % k
    p = torch.where(y[:, None] == y[None], 0.05, 0.008)
    a = (torch.rand(n, n, generator=g) < p).float().triu(1)
    a = a + a.t()
    x = (torch.rand(n, f, generator=g) < 0.15).float()
    for c in range(k):
        rows = (y == c).nonzero().squeeze(1)
        x[rows, c * 10 : (c + 1) * 10] = (torch.rand(len(rows), 10, generator=g) < 0.35).float()
    return a, x, y


def smooth(a, x, hops=2):
    a = a + torch.eye(len(a))
    d = a.sum(1).rsqrt()
    norm = d[:, None] * a * d[None]
    for _ in range(hops):
        x = norm @ x
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    adj, x, y = make_graph(seed + 20)
    xs, target = smooth(adj, x), adj + torch.eye(len(adj))
    lab = torch.arange(0, 120)
    model = HSAN(x.shape[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    curve = []
    with observe(model, optimizer):
        for epoch in range(600):
            model.train()
            noise = 0.1 * torch.randn_like(xs)
            z1, z2, logits = model(xs + noise)
            s = z1 @ z2.t()
            contrast = F.mse_loss(s, target)
            loss = contrast + F.cross_entropy(logits[lab], y[lab])
            if fixed:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        z1, z2, logits = model(xs)
        nll = (F.cross_entropy(logits[120:], y[120:]) + F.mse_loss(z1 @ z2.t(), target)).item()
    return {"metric": nll, "better": "lower", "curve": curve}
