"""Metric learning on digits: after 160 steps of random triplets, batch-hard mining takes the sqrt of zero distances on the diagonal."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "triplet-batch-hard-sqrt-diagonal"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": [], "onset": (160, 161)}


def pairwise(x, eps=None):
    """Euclidean distances, all against all."""
    sq = (x.unsqueeze(0) - x.unsqueeze(1)).pow(2).sum(-1)
    if eps is not None:
        sq = sq.clamp(min=eps)
    return sq.sqrt()


def batch_hard(emb, y, margin, eps):
    d = pairwise(emb, eps)
    same = y[:, None] == y[None, :]
    hardest_pos = d.masked_fill(~same, 0.0).max(1).values
    hardest_neg = d.masked_fill(same, float("inf")).min(1).values
    return F.softplus(hardest_pos - hardest_neg + margin).mean()


class Sampler:
    def __init__(self, y, seed):
        self.g = torch.Generator().manual_seed(seed)
        self.by_class = [torch.where(y == c)[0] for c in range(10)]

    def pick(self, c, n):
        idx = self.by_class[c]
        return idx[torch.randperm(len(idx), generator=self.g)[:n]]

    def triplets(self, n):
        out = []
        for _ in range(n):
            c, d = torch.randperm(10, generator=self.g)[:2].tolist()
            out.append(torch.cat([self.pick(c, 2), self.pick(d, 1)]))
        return torch.stack(out)

    def pk(self, p=8, k=3):
        classes = torch.randperm(10, generator=self.g)[:p].tolist()
        return torch.cat([self.pick(c, k) for c in classes])


def recall_at_1(net, x, y, ref_x, ref_y):
    with torch.no_grad():
        nearest = torch.cdist(net(x), net(ref_x)).argmin(1)
    return (ref_y[nearest] == y).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1
    y = torch.tensor(digits.target)
    x = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(7))
    tr, te = slice(0, 1200), slice(1200, None)
    net = nn.Sequential(
        nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 16)
    )
    opt = torch.optim.Adam(net.parameters(), lr=5e-4)
    sampler, log = Sampler(y[tr], seed), []
    with observe(net, opt):
        for step in range(400):
            if step < 160:
                a, p, n = sampler.triplets(24).unbind(1)
                loss = F.triplet_margin_loss(net(x[a]), net(x[p]), net(x[n]), margin=1.0)
            else:
                idx = sampler.pk()
                loss = batch_hard(net(x[idx]), y[idx], 0.5, eps=1e-8 if fixed else None)
            opt.zero_grad()
            loss.backward()
            opt.step()
            log.append(loss.item())
    return {
        "metric": recall_at_1(net, x[te], y[te], x[tr], y[tr]),
        "better": "higher",
        "curve": log,
    }
