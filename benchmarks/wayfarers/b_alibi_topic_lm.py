"""Decoder-only language model with ALiBi; the slope helper has the exponent's sign wrong, so every head sees only the current token."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "alibi-topic-lm"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [f"blocks.{i}{s}" for i in range(2) for s in ("", ".attn", ".attn.qkv")],
    "onset": 0,
}
VOCAB, LENGTH, TOPICS = 48, 28, 48


def alibi_slopes(heads, fixed):
    ratio = 8.0 / heads
    sign = -1.0 if fixed else 1.0
    return torch.tensor([2.0 ** (sign * ratio * (h + 1)) for h in range(heads)])


class AlibiAttention(nn.Module):
    def __init__(self, dim, heads, fixed):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        pos = torch.arange(LENGTH)
        dist = (pos[:, None] - pos[None, :]).float()
        bias = -alibi_slopes(heads, fixed)[:, None, None] * dist
        self.register_buffer("bias", bias.masked_fill(dist < 0, float("-inf")))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = (scores + self.bias[:, :t, :t]).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, dim, heads, fixed):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = AlibiAttention(dim, heads, fixed)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class TopicLM(nn.Module):
    def __init__(self, fixed, dim=32, heads=2, depth=2):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, fixed) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, VOCAB)

    def forward(self, ids):
        x = self.tok(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def documents(n, topics, gen):
    which = torch.randint(TOPICS, (n,), generator=gen)
    slot = torch.randint(topics.shape[1], (n, LENGTH + 1), generator=gen)
    words = topics[which].gather(1, slot)
    noise = torch.randint(VOCAB, words.shape, generator=gen)
    return torch.where(torch.rand(words.shape, generator=gen) < 0.05, noise, words)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    topics = torch.stack([torch.randperm(VOCAB, generator=gen)[:4] for _ in range(TOPICS)])
    model = TopicLM(fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for _ in range(250):
            docs = documents(16, topics, gen)
            loss = F.cross_entropy(model(docs[:, :-1]).transpose(1, 2), docs[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        docs = documents(256, topics, gen)
        logits = model(docs[:, :-1])[:, 8:]
        nll = F.cross_entropy(logits.transpose(1, 2), docs[:, 9:]).item()
    return {"metric": math.exp(nll), "better": "lower", "curve": curve}
