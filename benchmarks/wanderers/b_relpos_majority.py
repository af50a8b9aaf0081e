"""A transformer with a learned relative-position bias decides for each item of a session whether its category was mostly bought or
mostly returned. The queries are multiplied by sqrt(d_head) instead of divided: the constant is called `scale` in one codebase and
multiplied in another, so the softmax is one-hot from the start. People make it when they merge attention code from two repositories."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_relpos_majority"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["blocks.0.attn", "blocks.1.attn"],
    "onset": 0,
}
L, TYPES = 32, 4


class RelAttention(nn.Module):
    def __init__(self, dim, heads, scale):
        super().__init__()
        self.h, self.scale = heads, scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        nn.init.normal_(self.qkv.weight, std=dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * L - 1))
        pos = torch.arange(L)
        self.register_buffer("rel", pos[:, None] - pos[None, :] + L - 1)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        logits = (q * self.scale) @ k.transpose(-1, -2) + self.bias[:, self.rel]
        y = logits.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, heads, scale):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = RelAttention(dim, heads, scale)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class SessionModel(nn.Module):
    def __init__(self, scale, dim=96, heads=2):
        super().__init__()
        self.cat, self.event = nn.Embedding(TYPES, dim), nn.Embedding(2, dim)
        self.item = nn.Linear(12, dim)
        self.blocks = nn.ModuleList([Block(dim, heads, scale) for _ in range(2)])
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, 1)

    def forward(self, c, e, f):
        x = self.cat(c) + self.event(e) + self.item(f)
        for blk in self.blocks:
            x = blk(x)
        return self.out(self.norm(x)).squeeze(-1)


def sessions(n, g):
    c = torch.randint(TYPES, (n, L), generator=g)
    lean = torch.rand(n, TYPES, generator=g)
    e = (torch.rand(n, L, generator=g) < lean.gather(1, c)).long()
    same = (c[:, :, None] == c[:, None, :]).float()
    score = (same @ (2.0 * e[:, :, None] - 1)).squeeze(-1)
    features = torch.randn(n, L, 12, generator=g)
    return c, e, features, (score > 0).float(), score != 0


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    head_dim = 48
    model = SessionModel(head_dim**-0.5 if fixed else head_dim**0.5)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 40)
    curve = []

    def run(steps):
        for _ in range(steps):
            c, e, f, y, ok = sessions(24, g)
            loss = F.binary_cross_entropy_with_logits(model(c, e, f)[ok], y[ok])
            opt.zero_grad()
            loss.backward()
            opt.step()
            warm.step()
            curve.append(loss.item())

    with observe(model, opt):
        run(450)
    with torch.no_grad():
        c, e, f, y, ok = sessions(600, g)
        acc = ((model(c, e, f) > 0).float() == y)[ok].float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
