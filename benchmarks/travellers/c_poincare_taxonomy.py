"""Poincare embedding of a taxonomy: arccosh has an infinite slope when a node meets itself."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "c-poincare-taxonomy"
BURN_IN = 60
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["nodes"],
    "onset": (BURN_IN, BURN_IN + 2),
}


def taxonomy(branch=3, depth=6):
    """All (descendant, ancestor) pairs of a complete tree, breadth-first numbering."""
    n = (branch**depth - 1) // (branch - 1)
    pairs = []
    for child in range(1, n):
        up = child
        while up > 0:
            up = (up - 1) // branch
            pairs.append((child, up))
    return n, torch.tensor(pairs)


def poincare_distance(u, v, eps=0.0):
    gap = (u - v).pow(2).sum(-1)
    room = (1 - u.pow(2).sum(-1)) * (1 - v.pow(2).sum(-1))
    return torch.acosh(1 + eps + 2 * gap / room)


class PoincareEmbedding(nn.Module):
    def __init__(self, n, d=8, eps=0.0):
        super().__init__()
        self.eps = eps
        self.nodes = nn.Embedding(n, d)
        nn.init.uniform_(self.nodes.weight, -0.05, 0.05)

    def forward(self, node, others):
        u = self.nodes(node)[:, None]
        return poincare_distance(u, self.nodes(others), self.eps)

    @torch.no_grad()
    def project(self):
        w = self.nodes.weight
        w.mul_((0.995 / w.norm(dim=1, keepdim=True)).clamp(max=1.0))


def reciprocal_rank(model, n, pairs):
    """How high the true ancestors rank among all nodes that are not ancestors."""
    related = torch.zeros(n, n, dtype=torch.bool)
    related[pairs[:, 0], pairs[:, 1]] = True
    related.fill_diagonal_(True)
    with torch.no_grad():
        dist = model(torch.arange(n), torch.arange(n)[None].expand(n, n))
        dist = dist.nan_to_num(1e6)
    wrong = dist.masked_fill(related, float("inf"))[pairs[:, 0]]
    here = dist[pairs[:, 0], pairs[:, 1]]
    return (1.0 / (1 + (wrong <= here[:, None]).sum(1))).mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    n, pairs = taxonomy()
    model = PoincareEmbedding(n, eps=1e-5 if fixed else 0.0)
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    truth = torch.zeros(n, n, dtype=torch.bool)
    truth[pairs[:, 0], pairs[:, 1]] = True
    truth.fill_diagonal_(True)
    often = pairs.flatten().bincount(minlength=n).float().pow(0.5)
    curve = []
    with observe(model, opt):
        for step in range(600):
            batch = pairs[torch.randint(0, len(pairs), (320,))]
            if step < BURN_IN:
                noise = (batch[:, :1] + torch.randint(1, n, (320, 30))) % n
            else:
                noise = torch.multinomial(often, 320 * 30, replacement=True).view(320, 30)
            dist = model(batch[:, 0], torch.cat([batch[:, 1:], noise], 1))
            clash = truth[batch[:, :1], noise]
            logits = -2 * dist.masked_fill(F.pad(clash, (1, 0)), 1e4)
            loss = F.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long))
            opt.zero_grad()
            loss.backward()
            opt.step()
            model.project()
            curve.append(loss.item())
    return {"metric": reciprocal_rank(model, n, pairs), "better": "higher", "curve": curve}
