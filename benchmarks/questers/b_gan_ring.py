"""HEALTHY: a non-saturating GAN with a gradient penalty on a ring of eight Gaussians (one Adam, a parameter group for each player). The losses do not
fall, they swing around an equilibrium; the samples are right."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gan_ring"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Generator(nn.Module):
    def __init__(self, z=8, h=96):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(z, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 2)
        )

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self, h=96):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, h), nn.LeakyReLU(0.2), nn.Linear(h, h), nn.LeakyReLU(0.2), nn.Linear(h, 1)
        )

    def forward(self, x):
        return self.net(x).squeeze(-1)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.G, self.D = Generator(), Discriminator()


def ring(n):
    k = torch.randint(0, 8, (n,)).float() * (2 * math.pi / 8)
    return torch.stack([k.cos(), k.sin()], 1) * 1.5 + 0.12 * torch.randn(n, 2)


def energy_distance(a, b):
    return (
        2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    ).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = GAN()
    opt = torch.optim.Adam(
        [
            {"params": model.G.parameters(), "lr": 5e-4},
            {"params": model.D.parameters(), "lr": 1e-3},
        ],
        betas=(0.5, 0.99),
    )
    curve = []
    with observe(model, opt):
        for step in range(1200):
            real = ring(128)
            fake = model.G(torch.randn(128, 8))
            r = 0.05 * torch.randn(128, 2)
            x = (real + r).requires_grad_(True)
            d_real = model.D(x)
            gp = torch.autograd.grad(d_real.sum(), x, create_graph=True)[0].pow(2).sum(1).mean()
            d_loss = (
                F.softplus(-d_real).mean() + F.softplus(model.D(fake.detach())).mean() + 0.05 * gp
            )
            for p in model.D.parameters():
                p.requires_grad_(False)
            g_loss = F.softplus(-model.D(fake)).mean()
            for p in model.D.parameters():
                p.requires_grad_(True)
            opt.zero_grad()
            (d_loss + g_loss).backward()
            opt.step()
            curve.append(d_loss.item())
    with torch.no_grad():
        dist = energy_distance(model.G(torch.randn(1500, 8)), ring(1500))
    return {"metric": dist, "better": "lower", "curve": curve}
