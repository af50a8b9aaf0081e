"""Tiny GPT on an associative-recall language (k1v1 k2v2 ... k? -> v?, key and value share a position). The custom `_init_weights` sets std = 1/sqrt(fan) for fused
qkv with the *wrong* unit: query and key projections of every block get std 1.0 instead of 0.06; logits are huge and attention is one-hot."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from dataclasses import dataclass

ID = "b_gpt_qk_std"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse", "initialization_too_large"],
    "layers": ["blocks.0.attn", "blocks.0.attn.qk", "blocks.1.attn", "blocks.1.attn.qk"],
    "onset": (0, 0),
}


@dataclass
class Config:
    vocab: int = 33
    ctx: int = 13
    d: int = 64
    heads: int = 4
    layers: int = 2
    qk_std: float = 1.0
    lr: float = 2e-3


class CausalAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.h = c.heads
        self.qk, self.v, self.o = (
            nn.Linear(c.d, 2 * c.d, bias=False),
            nn.Linear(c.d, c.d, bias=False),
            nn.Linear(c.d, c.d, bias=False),
        )
        self.register_buffer("mask", torch.triu(torch.ones(c.ctx, c.ctx, dtype=torch.bool), 1))

    def forward(self, x):
        B, T, D = x.shape
        sp = lambda z: z.view(B, T, self.h, D // self.h).transpose(1, 2)
        q, k = self.qk(x).chunk(2, -1)
        q, k, v = sp(q), sp(k), sp(self.v(x))
        a = (q @ k.transpose(-1, -2)) / math.sqrt(D // self.h)
        a = a.masked_fill(self.mask[:T, :T], float("-inf")).softmax(-1)
        return self.o((a @ v).transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(c.d), nn.LayerNorm(c.d)
        self.attn = CausalAttention(c)
        self.mlp = nn.Sequential(nn.Linear(c.d, 2 * c.d), nn.GELU(), nn.Linear(2 * c.d, c.d))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.tok, self.pos = nn.Embedding(c.vocab, c.d), nn.Embedding(c.ctx, c.d)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.ln_f, self.head = nn.LayerNorm(c.d), nn.Linear(c.d, c.vocab, bias=False)
        for n, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=c.qk_std if "qk" in n else 0.06)

    def forward(self, t):
        x = self.tok(t).sum(2) + self.pos.weight[: t.shape[1]]
        for b in self.blocks:
            x = b(x)
        return self.head(self.ln_f(x))


def sample(n, g, pairs=12):
    keys = torch.rand(n, 16, generator=g).argsort(1)[:, :pairs]
    vals = torch.randint(16, 32, (n, pairs), generator=g)
    q = torch.randint(0, pairs, (n, 1), generator=g)
    ask = torch.stack([keys.gather(1, q), torch.full((n, 1), 32)], -1)
    return torch.cat([torch.stack([keys, vals], -1), ask], 1), vals.gather(1, q).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    cfg = Config(qk_std=0.06) if fixed else Config()
    g = torch.Generator().manual_seed(seed + 5)
    model = GPT(cfg)
    opt = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=(0.9, 0.95), weight_decay=0.01)
    steps = 300
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 50) * (0.55 + 0.45 * math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for _ in range(steps):
            x, y = sample(48, g)
            loss = F.cross_entropy(model(x)[:, -1], y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    x, y = sample(600, g)
    with torch.no_grad():
        return {
            "metric": (model(x)[:, -1].argmax(-1) == y).float().mean().item(),
            "better": "higher",
            "curve": curve,
        }
