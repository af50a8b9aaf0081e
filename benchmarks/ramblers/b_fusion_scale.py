"""Sensor fusion (mean of the noisy readings of one group) with a small causal transformer that calls F.scaled_dot_product_attention itself.
Bug: scale=math.sqrt(head_dim) instead of 1/sqrt(head_dim): the logits are head_dim times too large and the softmax is
one-hot on an arbitrary key from the start."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_fusion_scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [f"blocks.{i}.attn{s}" for i in (0, 1) for s in ("", ".qkv")],
    "onset": (0, 0),
}
GROUPS, READS = 4, 28


class Attn(nn.Module):
    def __init__(self, d, h, fixed):
        super().__init__()
        self.h, self.hd = h, d // h
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)
        self.scale = 1 / math.sqrt(self.hd) if fixed else math.sqrt(self.hd)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.h, self.hd).permute(2, 0, 3, 1, 4)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.proj(o.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, d, h, fixed):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = Attn(d, h, fixed)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class Fusion(nn.Module):
    def __init__(self, fixed, d=64):
        super().__init__()
        self.key, self.val = nn.Embedding(GROUPS, d), nn.Linear(1, d)
        self.query = nn.Parameter(torch.randn(d))
        self.blocks = nn.ModuleList([Block(d, 2, fixed), Block(d, 2, fixed)])
        self.norm, self.out = nn.LayerNorm(d), nn.Linear(d, 1)

    def forward(self, k, v, q):
        x = self.key(k) + self.val(v.unsqueeze(-1))
        x = torch.cat([x, (self.key(q) + self.query).unsqueeze(1)], 1)
        for b in self.blocks:
            x = b(x)
        return self.out(self.norm(x[:, -1])).squeeze(-1)


def batch(n, g):
    """READS noisy readings of GROUPS quantities, the answer is the true value of the one that is asked for"""
    truth = torch.randn(n, GROUPS, generator=g)
    k = torch.randint(0, GROUPS, (n, READS), generator=g)
    v = truth.gather(1, k) + torch.randn(n, READS, generator=g)
    q = torch.randint(0, GROUPS, (n,), generator=g)
    return k, v, q, truth.gather(1, q.unsqueeze(1)).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Fusion(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 50))
    curve = []
    with observe(model, opt):
        for step in range(450):
            k, v, q, y = batch(32, g)
            loss = F.mse_loss(model(k, v, q), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        k, v, q, y = batch(1000, g)
        m = (F.mse_loss(model(k, v, q), y) / y.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}
