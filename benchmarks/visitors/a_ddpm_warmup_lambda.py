"""DDPM on 8x8 digits with a warmup-cosine LambdaLR: the lambda returns the learning rate itself, and
LambdaLR multiplies it with the base rate once more, so the steps are a thousand times too small."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

ID = "ddpm-warmup-lambda"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": 0,
}


class ResBlock(nn.Module):
    def __init__(self, c, emb):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, c), nn.GroupNorm(8, c)
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)
        self.emb = nn.Linear(emb, 2 * c)

    def forward(self, x, t):
        scale, shift = self.emb(t)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return x + self.conv2(F.silu(h))


class Denoiser(nn.Module):
    def __init__(self, c=48, emb=64, depth=4):
        super().__init__()
        freqs = torch.exp(torch.linspace(0, math.log(1000), emb // 2))
        self.register_buffer("freqs", freqs)
        self.time = nn.Sequential(nn.Linear(emb, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.inp = nn.Conv2d(1, c, 3, padding=1)
        self.blocks = nn.ModuleList(ResBlock(c, emb) for _ in range(depth))
        self.out = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 1, 3, padding=1))

    def forward(self, x, t):
        a = t[:, None] * self.freqs[None]
        t = self.time(torch.cat([a.sin(), a.cos()], 1))
        h = self.inp(x)
        for block in self.blocks:
            h = block(h, t)
        return self.out(h)


def add_noise(x, t, eps):
    a = torch.cos(0.5 * math.pi * t)[:, None, None, None]
    return a * x + (1 - a**2).sqrt() * eps


def warmup_cosine(step, peak, warmup, total):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    cfg = {"lr": 2e-3, "steps": 300, "warmup": 30, "batch": 32}
    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    x = x[torch.randperm(len(x))]
    train_x, test_x = x[:1500], x[1500:]
    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg["lr"], weight_decay=0.01)
    peak = 1.0 if fixed else cfg["lr"]
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: warmup_cosine(s, peak, cfg["warmup"], cfg["steps"])
    )
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg["steps"]):
            batch = train_x[torch.randint(0, len(train_x), (cfg["batch"],))]
            t, eps = torch.rand(len(batch)), torch.randn_like(batch)
            loss = F.mse_loss(model(add_noise(batch, t, eps), t), eps)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        t, eps = torch.linspace(0.02, 0.98, len(test_x)), torch.randn_like(test_x)
        metric = F.mse_loss(model(add_noise(test_x, t, eps), t), eps).item()
    return {"metric": metric, "better": "lower", "curve": curve}
