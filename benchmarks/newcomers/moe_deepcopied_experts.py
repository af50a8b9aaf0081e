"""Transformer with a soft mixture-of-experts feed-forward; experts are deep copies of one and the router starts at zero, so they stay one expert."""

import copy
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "moe-deepcopied-experts"
N_EXPERTS, KEYS, VALUES, FACTS = 8, 16, 12, 5
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["moe", "moe.router", "moe.experts"]
    + [f"moe.experts.{i}{part}" for i in range(N_EXPERTS) for part in ("", ".0", ".2")],
    "onset": (0, 1),
}


def _get_clones(module, n):
    return nn.ModuleList([copy.deepcopy(module) for _ in range(n)])


class MoE(nn.Module):
    def __init__(self, d, hidden, clones=True):
        super().__init__()
        make = lambda: nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))
        self.experts = (
            _get_clones(make(), N_EXPERTS)
            if clones
            else nn.ModuleList(make() for _ in range(N_EXPERTS))
        )
        self.router = nn.Linear(d, N_EXPERTS, bias=False)
        nn.init.zeros_(self.router.weight)  # balanced routing at the start

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        out = torch.stack([e(x) for e in self.experts], -1)
        return (out * gate.unsqueeze(-2)).sum(-1)


class FactModel(nn.Module):
    """Reads (key, relation) and answers with a value, several facts in one sequence."""

    def __init__(self, d=32, hidden=3, clones=True):
        super().__init__()
        self.emb, self.pos = nn.Embedding(KEYS * 2 + VALUES, d), nn.Embedding(3 * FACTS, d)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 2, batch_first=True)
        self.moe = MoE(d, hidden, clones)
        self.head = nn.Linear(d, VALUES)

    def forward(self, x):
        T = x.shape[1]
        mask = torch.ones(T, T, dtype=torch.bool).triu(1)
        h = self.emb(x) + self.pos.weight[:T]
        n = self.norm1(h)
        h = h + self.attn(n, n, n, attn_mask=mask, need_weights=False)[0]
        h = h + self.moe(self.norm2(h))
        return self.head(self.norm3(h))[:, 1::3]


def batch(n, table, g):
    k = torch.randint(KEYS, (n, FACTS), generator=g)
    r = torch.randint(KEYS, (n, FACTS), generator=g)
    v = table[k, r]
    return torch.stack([k, KEYS + r, 2 * KEYS + v], -1).flatten(1), v


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    table = torch.randint(VALUES, (KEYS, KEYS), generator=g)
    model = FactModel(clones=not fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    curve = []
    with observe(model, opt):
        for step in range(400):
            x, v = batch(32, table, g)
            loss = F.cross_entropy(model(x).transpose(1, 2), v)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, v = batch(256, table, g)
        metric = F.cross_entropy(model(x).transpose(1, 2), v).item()
    return {"metric": metric, "better": "lower", "curve": curve}
