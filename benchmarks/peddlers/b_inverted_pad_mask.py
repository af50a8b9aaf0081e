"""Reading-time model: own attention pooling over word vectors of sentences of unequal length.
Bug (not in the list): the padding mask is inverted; words get -1e4 and padding is read, so the pooled vector holds (almost) nothing
but the padding embedding (for a full-length sentence all keys get the same -1e4 and the mask has no effect)."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_inverted_pad_mask"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["pool"], "onset": (0, 0)}


class Pool(nn.Module):
    def __init__(self, d, heads, fixed):
        super().__init__()
        self.q = nn.Parameter(torch.randn(heads, d) / math.sqrt(d))
        self.wk = nn.Parameter(torch.randn(d, heads, d) / math.sqrt(d))
        self.wv = nn.Parameter(torch.randn(d, heads, d) / math.sqrt(d))
        self.fixed = fixed

    def forward(self, x, is_pad):
        s = torch.einsum("btd,dhk,hk->bht", x, self.wk, self.q) / math.sqrt(x.shape[-1])
        block = is_pad if self.fixed else ~is_pad
        s = s - 1e4 * block[:, None].float()
        a = torch.exp(s - s.logsumexp(-1, keepdim=True))
        return torch.einsum("bht,btd,dhk->bhk", a, x, self.wv).flatten(1)


class Reader(nn.Module):
    def __init__(self, vocab=60, d=32, heads=2, fixed=False):
        super().__init__()
        self.words = nn.Parameter(torch.randn(vocab + 1, d))
        self.pool = Pool(d, heads, fixed)
        self.w1, self.b1 = (
            nn.Parameter(torch.randn(64, heads * d + 1) / 8),
            nn.Parameter(torch.zeros(64)),
        )
        self.w2, self.b2 = nn.Parameter(torch.randn(1, 64) / 8), nn.Parameter(torch.zeros(1))

    def forward(self, ids, n):
        pad = torch.arange(ids.shape[1])[None] >= n[:, None]
        h = self.pool(self.words[ids], pad)
        h = F.silu(F.linear(torch.cat([h, (n[:, None] - 10.0) / 5], 1), self.w1, self.b1))
        return F.linear(h, self.w2, self.b2)[:, 0]


def sentences(N, rarity, g, T=20, vocab=60):
    n = torch.randint(4, T + 1, (N,), generator=g)
    topic = torch.rand(N, 1, generator=g)
    ids = (vocab * torch.rand(N, T, generator=g).pow(0.4 + 2 * topic)).long().clamp(0, vocab - 1)
    live = (torch.arange(T)[None] < n[:, None]).float()
    t = (rarity[ids] * live).sum(1) / n
    y = t + 0.1 * (n - 12) / 5
    ids = torch.where(live > 0, ids, torch.full_like(ids, vocab))
    return ids, n, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 171)
    rarity = torch.randn(60, generator=g) + torch.linspace(-1, 1, 60)
    ids, n, y = sentences(6000, rarity, g)
    y = (y - y.mean()) / y.std() + 0.1 * torch.randn(len(y), generator=g)
    model = Reader(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            j = torch.randint(0, 5000, (96,), generator=g)
            e = model(ids[j], n[j]) - y[j]
            loss = torch.where(e.abs() < 1, 0.5 * e * e, e.abs() - 0.5).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(ids[5000:], n[5000:]) - y[5000:]).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
