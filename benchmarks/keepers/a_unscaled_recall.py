"""A tiny transformer learns associative recall (key-value pairs, then a key whose value is asked for), after GitHub:
PAIR-code/tiny-transformers issue 71, 'Fix scaling in attention computation'. The attention scores are not divided by the square root of
the head size, so with wide heads every softmax points at a single token before anything is learnt. The factor looks like a detail of the
formula and is easily lost when attention is rewritten with einsum."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_unscaled_recall"
TRUTH = {"mechanisms": ["attention_entropy_collapse"], "layers": ["blocks.0.attn"], "onset": 0}

KEYS, VALUES, PAIRS = 24, 8, 14
DIM = 160


class Attention(nn.Module):
    def __init__(self, dim, divide):
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (
            nn.Parameter(torch.randn(dim, dim) / dim**0.5) for _ in range(4)
        )
        self.divide = divide

    def forward(self, x):
        q, k, v = x @ self.wq, x @ self.wk, x @ self.wv
        raw = torch.einsum("bqd,bkd->bqk", q, k)
        if self.divide:
            raw = raw / q.shape[-1] ** 0.5
        return torch.softmax(raw, -1) @ v @ self.wo


class Block(nn.Module):
    def __init__(self, dim, divide):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, divide)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Recall(nn.Module):
    def __init__(self, divide):
        super().__init__()
        self.keys, self.values = nn.Embedding(KEYS, DIM), nn.Embedding(VALUES + 1, DIM)
        self.blocks = nn.Sequential(Block(DIM, divide))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, VALUES)

    def forward(self, k, v, query):
        pairs = self.keys(k) + self.values(v)
        ask = self.keys(query) + self.values(torch.full_like(query, VALUES))
        x = torch.cat([pairs, ask.unsqueeze(1)], 1)
        return self.head(self.norm(self.blocks(x)[:, -1]))


def riddles(n, gen):
    k = torch.rand(n, KEYS, generator=gen).argsort(1)[:, :PAIRS]
    v = torch.randint(0, VALUES, (n, PAIRS), generator=gen)
    at = torch.randint(0, PAIRS, (n,), generator=gen)
    rows = torch.arange(n)
    return k, v, k[rows, at], v[rows, at]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 41)
    model = Recall(divide=fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for step in range(360):
            for group in optimizer.param_groups:
                group["lr"] = 0.03 * min(1.0, (step + 1) / 50)
            k, v, query, answer = riddles(24, gen)
            loss = F.cross_entropy(model(k, v, query), answer)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        k, v, query, answer = riddles(1000, gen)
        metric = (model(k, v, query).argmax(1) == answer).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
