"""Factorization machine for clicks: the latent factors all start at the same constant, so its 8 factors stay one factor."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "fm-constant-latent-factors"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["factors"], "onset": (0, 1)}
FIELDS = [120, 80, 12]  # user, item, context


def make_clicks(n, g, truth):
    ids = torch.stack([torch.randint(0, c, (n,), generator=g) for c in FIELDS], 1)
    u, i, c = (truth[k][ids[:, k]] for k in range(3))
    logit = 1.1 * (u * i).sum(1) + 0.6 * (i * c).sum(1) + 0.4 * (u * c).sum(1)
    return ids, torch.bernoulli(torch.sigmoid(logit), generator=g)


class FactorizationMachine(nn.Module):
    def __init__(self, dims, k=8):
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0, *dims[:-1]]).cumsum(0))
        self.linear = nn.Embedding(sum(dims), 1)
        self.factors = nn.Embedding(sum(dims), k)
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.linear.weight)

    def forward(self, ids):
        ids = ids + self.offsets
        v = self.factors(ids)
        pairwise = 0.5 * (v.sum(1) ** 2 - (v**2).sum(1)).sum(1)
        return self.bias + self.linear(ids).sum((1, 2)) + pairwise


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    truth = [torch.randn(c, 5, generator=g) for c in FIELDS]
    ids, clicks = make_clicks(24000, g, truth)
    val_ids, val_clicks = make_clicks(6000, g, truth)

    model = FactorizationMachine(FIELDS)
    if fixed:
        nn.init.normal_(model.factors.weight, std=0.1)
    else:
        nn.init.constant_(model.factors.weight, 0.1)
    opt = torch.optim.Adam(model.parameters(), lr=0.01)

    history = []
    with observe(model, opt):
        for epoch in range(8):
            order = torch.randperm(len(ids), generator=g)
            for batch in order.split(512):
                loss = F.binary_cross_entropy_with_logits(model(ids[batch]), clicks[batch])
                opt.zero_grad()
                loss.backward()
                opt.step()
                history.append(loss.item())

    with torch.no_grad():
        val = F.binary_cross_entropy_with_logits(model(val_ids), val_clicks).item()
    return {"metric": val, "better": "lower", "curve": history}
