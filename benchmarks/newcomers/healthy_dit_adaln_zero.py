"""Healthy but odd: DiT with adaLN-zero and a zero head; most gradients are zero at first, the noisy loss soon flattens, EMA."""

import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "healthy-dit-adaln-zero"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
T, W = 100, 48


def bars(n, g, s=8):
    y = torch.randint(0, 3, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    c = 2 + 3 * torch.rand(n, 1, 1, generator=g)
    d = torch.stack([xx - c, yy - c, ((xx - 3.5) ** 2 + (yy - 3.5) ** 2).sqrt() - c / 1.5])
    img = 2 * torch.exp(-(d[y, torch.arange(n)] ** 2)) - 1
    return img, y


def patchify(x):
    return x.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).flatten(1, 2)


class DiTBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1 = nn.LayerNorm(W, elementwise_affine=False)
        self.n2 = nn.LayerNorm(W, elementwise_affine=False)
        self.attn = nn.MultiheadAttention(W, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(W, 2 * W), nn.GELU(), nn.Linear(2 * W, W))
        self.ada = nn.Linear(W, 6 * W)
        nn.init.zeros_(self.ada.weight)
        nn.init.zeros_(self.ada.bias)

    def forward(self, x, c):
        s1, b1, g1, s2, b2, g2 = self.ada(F.silu(c))[:, None].chunk(6, -1)
        h = self.n1(x) * (1 + s1) + b1
        x = x + g1 * self.attn(h, h, h, need_weights=False)[0]
        return x + g2 * self.mlp(self.n2(x) * (1 + s2) + b2)


class DiT(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.pos = nn.Linear(4, W), nn.Parameter(0.02 * torch.randn(16, W))
        self.time = nn.Sequential(nn.Linear(32, W), nn.SiLU(), nn.Linear(W, W))
        self.label = nn.Embedding(4, W)
        self.blocks = nn.ModuleList(DiTBlock() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(W), nn.Linear(W, 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, p, t, y):
        f = t[:, None] * torch.exp(-math.log(1000.0) * torch.arange(16) / 16)
        c = self.time(torch.cat([f.sin(), f.cos()], 1)) + self.label(y)
        x = self.embed(p) + self.pos
        for b in self.blocks:
            x = b(x, c)
        return self.head(self.norm(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    abar = torch.cos(torch.linspace(0.02, 1.53, T)) ** 2
    net = DiT()
    ema = copy.deepcopy(net).requires_grad_(False)

    def noisy(n, g):
        img, y = bars(n, g)
        t = torch.randint(0, T, (n,), generator=g)
        p = patchify(img)
        eps = torch.randn(p.shape, generator=g)
        a = abar[t][:, None, None]
        return a.sqrt() * p + (1 - a).sqrt() * eps, t.float(), y, eps

    opt = torch.optim.AdamW(net.parameters(), lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.0)
    curve = []
    with observe(net, opt):
        for step in range(450):
            x, t, y, eps = noisy(48, g)
            y = torch.where(torch.rand(48, generator=g) < 0.1, torch.full_like(y, 3), y)
            loss = F.mse_loss(net(x, t, y), eps)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                for pe, p in zip(ema.parameters(), net.parameters()):
                    pe.lerp_(p, 0.03)
            curve.append(loss.item())
    with torch.no_grad():
        x, t, y, eps = noisy(1000, torch.Generator().manual_seed(9))
        err = F.mse_loss(ema(x, t, y), eps).item()
    return {"metric": err, "better": "lower", "curve": curve}
