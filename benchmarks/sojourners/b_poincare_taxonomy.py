"""Poincare-ball embeddings of a synthetic taxonomy, curriculum in two stages (tree edges, then the full closure with synonyms).
Bug: arcosh(1 + 0): the second stage brings pairs of a node with itself (reflexive closure), where the derivative is infinite."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_poincare_taxonomy"
STAGE = 400
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["distance"],
    "onset": (STAGE, STAGE + 2),
}


class PoincareDistance(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, u, v):
        sq = ((u - v) ** 2).sum(-1)
        au = (1 - (u**2).sum(-1)).clamp_min(1e-5)
        av = (1 - (v**2).sum(-1)).clamp_min(1e-5)
        x = 1 + 2 * sq / (au * av)
        x = x + self.eps
        return torch.log(x + torch.sqrt(x * x - 1))


class TaxonomyModel(nn.Module):
    def __init__(self, n, dim, eps):
        super().__init__()
        self.emb = nn.Embedding(n, dim)
        nn.init.uniform_(self.emb.weight, -1e-2, 1e-2)
        self.distance = PoincareDistance(eps)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, child, cands):
        u = self.emb(child)[:, None]
        return -self.scale * self.distance(u, self.emb(cands))


@torch.no_grad()
def project(w, maxnorm=0.99):
    n = w.norm(dim=-1, keepdim=True)
    w.copy_(torch.where(n > maxnorm, w / n * maxnorm, w))


def build_tree(branch=3, depth=4):
    parent = [0]
    level = [0]
    for _ in range(depth):
        nxt = []
        for p in level:
            for _ in range(branch):
                parent.append(p)
                nxt.append(len(parent) - 1)
        level = nxt
    edges = [(c, parent[c]) for c in range(1, len(parent))]
    closure = []
    for c in range(len(parent)):
        closure.append((c, c))
        a = c
        while a != 0:
            a = parent[a]
            closure.append((c, a))
    return len(parent), torch.tensor(edges), torch.tensor(closure)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    n, edges, closure = build_tree()
    related = torch.eye(n, dtype=torch.bool)
    related[closure[:, 0], closure[:, 1]] = True
    related[closure[:, 1], closure[:, 0]] = True
    model = TaxonomyModel(n, 5, 1e-5 if fixed else 0.0)
    opt = torch.optim.Adam(
        [{"params": model.emb.parameters(), "lr": 1e-2}, {"params": [model.scale], "lr": 1e-3}]
    )
    curve = []

    def batch(pairs, bs=128, neg=12):
        p = pairs[torch.randint(len(pairs), (bs,))]
        ns = torch.randint(n, (bs, neg))
        ns = torch.where(ns == p[:, :1], (ns + 1) % n, ns)  # never the child itself as a negative
        bad = related[p[:, :1].expand_as(ns), ns]
        return p[:, 0], torch.cat([p[:, 1:], ns], 1), bad

    with observe(model, opt):
        for step in range(2000):
            child, cands, bad = batch(edges if step < STAGE else closure)
            logits = model(child, cands)
            logits = torch.cat([logits[:, :1], logits[:, 1:].masked_fill(bad, -1e4)], 1)
            loss = F.cross_entropy(logits, torch.zeros(len(child), dtype=torch.long))
            opt.zero_grad()
            loss.backward()
            opt.step()
            project(model.emb.weight.data)
            curve.append(loss.item())
    with torch.no_grad():  # mean rank of the true parent among all non-relatives
        d = -model(edges[:, 0], torch.arange(n).expand(len(edges), n))
        pos = d.gather(1, edges[:, 1:])
        mask = related[edges[:, 0]]
        rank = ((d < pos) & ~mask).sum(1).float().mean() + 1
        if not torch.isfinite(d).all():
            rank = torch.tensor(float("nan"))
    return {"metric": rank.item(), "better": "lower", "curve": curve}
