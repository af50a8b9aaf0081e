"""Set transformer with scaled cosine attention (as in Swin v2). The learnt scale is kept as a logarithm, but its parameter was initialised with the
scale itself (10 instead of ln 10) and the clamp got lost: softmax(22026 * cos) is one-hot from the start."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_cosine_attn_scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["blocks.0.attn", "blocks.1.attn", "blocks.0", "blocks.1"],
    "onset": (0, 0),
}


class CosineAttention(nn.Module):
    def __init__(self, d, heads, fixed):
        super().__init__()
        self.h = heads
        self.fixed = fixed
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.proj = nn.Linear(d, d)
        self.logit_scale = nn.Parameter(
            torch.full((heads, 1, 1), math.log(10.0) if fixed else 10.0)
        )

    def forward(self, x):
        B, N, D = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        s = self.logit_scale.clamp(max=math.log(100.0)) if self.fixed else self.logit_scale
        att = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)) * s.exp()
        return self.proj((att.softmax(-1) @ v).transpose(1, 2).reshape(B, N, D))


class Block(nn.Module):
    def __init__(self, d, heads, fixed):
        super().__init__()
        self.attn = CosineAttention(d, heads, fixed)
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.n1(self.attn(x))  # res-post-norm
        return x + self.n2(self.ff(x))


class SetNet(nn.Module):
    def __init__(self, d=32, heads=4, fixed=False):
        super().__init__()
        self.embed = nn.Linear(10, d)
        self.blocks = nn.ModuleList(Block(d, heads, fixed) for _ in range(2))
        self.head = nn.Linear(d, 1)

    def forward(self, x):
        x = self.embed(x)
        for b in self.blocks:
            x = b(x)
        return self.head(x).squeeze(-1)


def sets(n, g, N=12, K=6):
    """Items with a group (one of K) and a value; the target of an item is the mean value of its own group."""
    grp = torch.randint(0, K, (n, N), generator=g)
    val = torch.randn(n, N, generator=g)
    oh = F.one_hot(grp, K).float()
    same = oh @ oh.transpose(1, 2)
    y = (same @ val[..., None]).squeeze(-1) / same.sum(-1)
    return torch.cat([oh, val[..., None], torch.randn(n, N, 3, generator=g) * 0.3], -1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 9)
    X, Y = sets(4000, g)
    Xv, Yv = sets(500, g)
    model = SetNet(fixed=fixed)
    no = [p for n, p in model.named_parameters() if p.ndim == 1 or "logit_scale" in n]
    de = [p for n, p in model.named_parameters() if not (p.ndim == 1 or "logit_scale" in n)]
    opt = torch.optim.AdamW(
        [{"params": de, "weight_decay": 0.02}, {"params": no, "weight_decay": 0.0}], lr=2e-3
    )
    steps, warm = 500, 40
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt,
        lambda s: (
            (s + 1) / warm
            if s < warm
            else 0.5 * (1 + math.cos(math.pi * (s - warm) / (steps - warm)))
        ),
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (48,))
            loss = F.mse_loss(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(Xv), Yv).item()
    return {"metric": mse, "better": "lower", "curve": curve}
