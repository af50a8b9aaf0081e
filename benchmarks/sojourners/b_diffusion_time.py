"""DDPM on a ring-of-Gaussians / spiral in 2-D with a FiLM-conditioned residual net.
Bug (not in the list): the time is given as t // T (integer division), so each level of noise gets the same embedding."""

import math, torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_diffusion_time"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
T = 100


class FiLMBlock(nn.Module):
    def __init__(self, h, e):
        super().__init__()
        self.fc1, self.fc2, self.film = nn.Linear(h, h), nn.Linear(h, h), nn.Linear(e, 2 * h)

    def forward(self, x, emb):
        g, b = self.film(emb).chunk(2, -1)
        return x + self.fc2(F.silu(self.fc1(F.silu(x)) * (1 + g) + b))


class Denoiser(nn.Module):
    def __init__(self, h=96, e=32):
        super().__init__()
        self.register_buffer("freq", torch.exp(torch.linspace(0, math.log(50), e // 2)))
        self.inp, self.out = nn.Linear(2, h), nn.Linear(h, 2)
        self.blocks = nn.ModuleList(FiLMBlock(h, e) for _ in range(3))

    def forward(self, x, t):
        a = t[:, None].float() * self.freq
        emb = torch.cat([a.sin(), a.cos()], -1)
        h = self.inp(x)
        for b in self.blocks:
            h = b(h, emb)
        return self.out(F.silu(h))


def spiral(n):
    r = torch.rand(n).sqrt() * 3 * math.pi
    return torch.stack([r * r.cos(), r * r.sin()], -1) / 5 + 0.03 * torch.randn(n, 2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    betas = torch.linspace(1e-4, 0.08, T)
    abar = torch.cumprod(1 - betas, 0)
    model = Denoiser()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 1200)
    curve = []

    def eps_loss(n):
        x0, t, e = spiral(n), torch.randint(T, (n,)), torch.randn(n, 2)
        xt = abar[t].sqrt()[:, None] * x0 + (1 - abar[t]).sqrt()[:, None] * e
        frac = t / T if fixed else t // T
        return F.mse_loss(model(xt, frac), e)

    with observe(model, opt):
        for step in range(1200):
            loss = eps_loss(256)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = eps_loss(20000).item()
    return {"metric": m, "better": "lower", "curve": curve}
