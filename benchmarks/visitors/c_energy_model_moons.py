"""Healthy but odd: an energy-based model with Langevin negatives; the contrastive loss is negative,
rises towards zero and then hovers just below it while the samples approach the data."""

import torch
from torch import nn

ID = "energy-model-moons"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def moons(n, g):
    angle = torch.pi * torch.rand(n, generator=g)
    upper = torch.rand(n, generator=g) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x - 0.5, y - 0.25], dim=1) * 1.5
    return points + 0.2 * torch.randn(n, 2, generator=g)


class Energy(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 1),
        )

    def forward(self, x):
        return self.net(x).squeeze(1) + 0.1 * x.pow(2).sum(1)


def langevin(energy, x, steps, size=0.01):
    energy.requires_grad_(False)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        grad = torch.autograd.grad(energy(x).sum(), x)[0]
        x = x - size * grad + (2 * size) ** 0.5 * torch.randn_like(x)
    energy.requires_grad_(True)
    return x.detach()


def mmd(a, b, widths=(0.2, 0.5, 1.0)):
    def kernel(p, q):
        d = torch.cdist(p, q).pow(2)
        return sum((-d / (2 * w * w)).exp().mean() for w in widths)

    return (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)).clamp_min(0).sqrt().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 41)
    model = Energy()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.99))
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=360)
    pool = 2 * torch.randn(4000, 2)
    curve = []
    with observe(model, optimizer):
        for _ in range(360):
            real = moons(200, g)
            idx = torch.randperm(len(pool))[:200]
            start = pool[idx]
            start[:4] = 1.5 * torch.randn(4, 2)
            fake = langevin(model, start, steps=20)
            pool[idx] = fake
            e_real, e_fake = model(real), model(fake)
            loss = (e_real - e_fake).mean() + 0.03 * (e_real.pow(2) + e_fake.pow(2)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    samples = langevin(model, pool[:1500], steps=50)
    return {"metric": mmd(samples, moons(1500, g)), "better": "lower", "curve": curve}
