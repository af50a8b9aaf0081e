"""Healthy: a GAN on a ring of 2-D points, both nets in one module and one Adam with two groups, gradients gathered apart.
The generator's loss rises and wobbles by design; samples lie on the ring at the end."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gan_ring_points"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class GAN(nn.Module):
    def __init__(self, zdim=8):
        super().__init__()
        self.zdim = zdim
        self.generator = nn.Sequential(
            nn.Linear(zdim, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )
        self.discriminator = nn.Sequential(
            nn.Linear(2, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 64),
            nn.LeakyReLU(0.2),
            nn.Linear(64, 1),
        )

    def sample(self, n):
        return self.generator(torch.randn(n, self.zdim))


def ring(n):
    a = torch.rand(n) * 2 * math.pi
    r = 1.5 + 0.1 * torch.randn(n)
    return torch.stack([r * a.cos(), r * a.sin()], 1)


def ring_error(p):
    """mean distance to the ring plus how unevenly the eight sectors are filled"""
    off = (p.norm(dim=1) - 1.5).abs().mean().item()
    sec = ((torch.atan2(p[:, 1], p[:, 0]) + math.pi) / (2 * math.pi) * 8).long().clamp(0, 7)
    share = torch.bincount(sec, minlength=8).float() / len(p)
    return off + (share - 0.125).abs().sum().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = GAN()
    optimizer = torch.optim.Adam(
        [
            {"params": model.generator.parameters(), "lr": 5e-4},
            {"params": model.discriminator.parameters(), "lr": 1e-3},
        ],
        betas=(0.5, 0.9),
    )
    curve = []
    with observe(model, optimizer):
        for it in range(1500):
            real, fake = ring(128), model.sample(128)
            # discriminator and generator losses are computed apart and their gradients put into one step
            d_loss = (
                F.softplus(-model.discriminator(real)).mean()
                + F.softplus(model.discriminator(fake.detach())).mean()
            )
            x = real.clone().requires_grad_(True)
            gp = (
                torch.autograd.grad(model.discriminator(x).sum(), x, create_graph=True)[0]
                .pow(2)
                .sum(1)
                .mean()
            )
            for p in model.discriminator.parameters():
                p.requires_grad_(False)
            g_loss = F.softplus(-model.discriminator(fake)).mean()
            optimizer.zero_grad()
            g_loss.backward()
            for p in model.discriminator.parameters():
                p.requires_grad_(True)
            (d_loss + 0.05 * gp).backward()
            optimizer.step()
            curve.append(g_loss.item())
    with torch.no_grad():
        err = ring_error(model.sample(4000))
    return {"metric": err, "better": "lower", "curve": curve}
