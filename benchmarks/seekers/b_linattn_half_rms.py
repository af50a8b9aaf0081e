"""Causal linear-attention language model. RMSNorm runs in float16 "to save memory" and sums the squares there: with embeddings scaled
by sqrt(d_model) the sum passes 65504, becomes inf, and the token is divided by infinity, that is, erased."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_linattn_half_rms"
TRUTH = {
    "mechanisms": ["half_precision_overflow"],
    "layers": ["blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm_f"],
    "onset": (0, 0),
}
V, D, T = 20, 256, 24


class RMSNorm(nn.Module):
    def __init__(self, d, dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.dtype = dtype

    def forward(self, x):
        h = x.to(self.dtype)
        total = (h * h).sum(-1, keepdim=True)
        h = h * torch.rsqrt(total / h.shape[-1] + 1e-6)
        return h.to(x.dtype) * self.weight


class LinearAttention(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.heads = heads
        self.conv = nn.Conv1d(d, d, 3, groups=d, padding=2)
        self.qkv = nn.Linear(d, 3 * 64, bias=False)
        self.out = nn.Linear(64, d, bias=False)

    def forward(self, x):
        B, T, _ = x.shape
        x = self.conv(x.transpose(1, 2))[..., :T].transpose(1, 2)
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        a = (q @ k.transpose(-1, -2)).tril()
        y = (a @ v) / (a.sum(-1, keepdim=True) + 1e-4)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))


class Block(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(D, dtype), RMSNorm(D, dtype)
        self.attn = LinearAttention(D)
        self.mlp = nn.Sequential(nn.Linear(D, 192), nn.GELU(), nn.Linear(192, D))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LinearLM(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.blocks = nn.ModuleList(Block(dtype) for _ in range(2))
        self.norm_f = RMSNorm(D, dtype)
        self.head = nn.Linear(D, V, bias=False)

    def forward(self, idx):
        x = self.embed(idx) * math.sqrt(D)
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm_f(x))


def text(n, table, g):
    s = torch.randint(0, V, (n, T + 1), generator=g)
    for t in range(2, T + 1):
        p = table[s[:, t - 1], s[:, t - 2] % 5]
        s[:, t] = torch.multinomial(p, 1, generator=g)[:, 0]
    return s


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(70 + seed)
    table = torch.softmax(3.0 * torch.randn(V, 5, V, generator=g), -1)
    data, held = text(1500, table, g), text(200, table, g)
    model = LinearLM(torch.float32 if fixed else torch.float16)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.01
    )
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 40))
    curve = []
    with observe(model, optimizer):
        for step in range(240):
            b = data[torch.randint(0, len(data), (18,), generator=g)]
            logits = model(b[:, :-1])
            loss = F.cross_entropy(logits[:, 1:].reshape(-1, V), b[:, 2:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warm.step()
            curve.append(loss.item())
    with torch.no_grad():
        ce = F.cross_entropy(
            model(held[:, :-1])[:, 1:].reshape(-1, V), held[:, 2:].reshape(-1)
        ).item()
    return {"metric": ce, "better": "lower", "curve": curve}
