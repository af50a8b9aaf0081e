"""A denoising-diffusion model of daily electricity load curves (noise prediction with a time-conditioned residual network). The warm-up
and cosine function returns the learning rate itself, but LambdaLR multiplies the base rate by what it gets, so the rate in use is the
square of the one intended. People port a schedule from a framework whose callback returns absolute rates."""

import math
import torch
import torch.nn as nn

ID = "b_ddpm_lambda_lr"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": 0,
}
T, D = 60, 24


class ResBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.time = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, h, t):
        a, b = self.time(t).chunk(2, -1)
        return h + self.outer(nn.functional.silu(self.inner(self.norm(h) * (1 + a) + b)))


class Denoiser(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.register_buffer(
            "freq", torch.exp(torch.linspace(0, math.log(T), width // 2)) / T * math.pi
        )
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.inp = nn.Linear(D, width)
        self.blocks = nn.ModuleList([ResBlock(width) for _ in range(3)])
        self.out = nn.Linear(width, D)

    def forward(self, x, t):
        a = t[:, None].float() * self.freq
        e = self.time(torch.cat([a.sin(), a.cos()], -1))
        h = self.inp(x)
        for b in self.blocks:
            h = b(h, e)
        return self.out(h)


def load_curves(n, g):
    hour = torch.arange(D) / D * 2 * math.pi
    amp = 0.6 + 0.8 * torch.rand(n, 2, generator=g)
    shift = 0.5 * torch.randn(n, 2, generator=g)
    weekend = (torch.rand(n, 1, generator=g) < 0.3).float()
    x = amp[:, :1] * torch.cos(hour - shift[:, :1]) * (1 - 0.7 * weekend) + amp[:, 1:] * torch.sin(
        2 * hour + shift[:, 1:]
    )
    return x + weekend


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = load_curves(4000, g)
    xv = load_curves(1500, g)
    abar = torch.cumprod(1 - torch.linspace(1e-3, 0.15, T), 0)
    peak, warm, steps = 1.5e-3, 50, 900

    def rate(k):
        r = (
            (k + 1) / warm
            if k < warm
            else 0.5 * (1 + math.cos(math.pi * (k - warm) / (steps - warm)))
        )
        return r if fixed else peak * r

    def noised(x0):
        t = torch.randint(T, (len(x0),), generator=g)
        eps = torch.randn(x0.shape, generator=g)
        a = abar[t][:, None]
        return a.sqrt() * x0 + (1 - a).sqrt() * eps, t, eps

    model = Denoiser()
    opt = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, rate)
    curve = []
    with observe(model, opt):
        for k in range(steps):
            xt, t, eps = noised(x[torch.randint(len(x), (96,), generator=g)])
            loss = ((model(xt, t) - eps) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        xt, t, eps = noised(xv)
        metric = ((model(xt, t) - eps) ** 2).mean().item()
    return {"metric": metric, "better": "lower", "curve": curve}
