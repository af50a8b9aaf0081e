"""Denoising diffusion on 8x8 digits with EMA; the forward-process helper draws its own noise, so
the network is asked to predict noise that was never added to its input."""

import copy
import math

import torch
from sklearn.datasets import load_digits
from torch import nn

ID = "ddpm-digits-fresh-noise"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


class Diffusion:
    def __init__(self, steps=200):
        self.steps = steps
        t = torch.arange(steps + 1) / steps
        f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        self.alpha_bar = (f / f[0]).clamp(1e-4, 0.9999)[1:]

    def q_sample(self, x0, t, noise=None):
        if noise is None:
            noise = torch.randn_like(x0)
        a = self.alpha_bar[t].unsqueeze(-1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise


class ResBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.time = nn.Linear(64, width)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, h, temb):
        u = self.fc1(self.norm(h)) + self.time(temb)
        return h + self.fc2(nn.functional.gelu(u))


class Denoiser(nn.Module):
    def __init__(self, dim=64, width=192, depth=3):
        super().__init__()
        self.register_buffer("freq", torch.exp(torch.linspace(0, -6, 32)))
        self.inp = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResBlock(width) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, x, t):
        ang = t.float().unsqueeze(-1) * self.freq
        temb = torch.cat([ang.sin(), ang.cos()], -1)
        h = self.inp(x)
        for block in self.blocks:
            h = block(h, temb)
        return self.out(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    pixels = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    pixels = pixels[torch.randperm(len(pixels))]
    data, test = pixels[:1500], pixels[1500:]
    diffusion, model = Diffusion(), Denoiser()
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1, (step + 1) / 30)
            x0 = data[torch.randint(0, len(data), (128,))]
            t = torch.randint(0, diffusion.steps, (len(x0),))
            noise = torch.randn_like(x0)
            xt = diffusion.q_sample(x0, t, noise) if fixed else diffusion.q_sample(x0, t)
            loss = nn.functional.mse_loss(model(xt, t), noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for e, p in zip(ema.parameters(), model.parameters()):
                    e.lerp_(p, 0.02)
            curve.append(loss.item())
    with torch.no_grad():
        x0 = test.repeat(4, 1)
        t, noise = torch.randint(0, diffusion.steps, (len(x0),)), torch.randn_like(x0)
        error = nn.functional.mse_loss(ema(diffusion.q_sample(x0, t, noise), t), noise)
    return {"metric": error.item(), "better": "lower", "curve": curve}
