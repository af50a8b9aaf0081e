"""A GAN learns a two-moons distribution. Nothing is wrong: the generator loss hovers around log 2 from the first step to the last,
which makes people believe that nothing is being learnt, while the samples come to match the data. Adversarial losses do not measure
progress; the held-out sliced Wasserstein distance does."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_moons_gan"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def moons(n, g):
    a = math.pi * torch.rand(n, generator=g)
    up = torch.rand(n, generator=g) < 0.5
    x = torch.where(up, a.cos(), 1 - a.cos()) - 0.5
    y = torch.where(up, a.sin(), 0.5 - a.sin()) - 0.25
    return torch.stack([x, y], 1) * 1.3 + 0.05 * torch.randn(n, 2, generator=g)


def mlp(sizes):
    layers = []
    for a, b in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def sliced_wasserstein(a, b, k=64):
    ang = torch.arange(k) * math.pi / k
    d = torch.stack([ang.cos(), ang.sin()])
    return ((a @ d).sort(0).values - (b @ d).sort(0).values).abs().mean().item()


def critic_loss(disc, real, fake, gamma=0.05):
    real = real.requires_grad_()
    out = disc(real)
    (grad,) = torch.autograd.grad(out.sum(), real, create_graph=True)
    return (
        F.softplus(-out).mean()
        + F.softplus(disc(fake)).mean()
        + 0.5 * gamma * grad.square().sum(1).mean()
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 900)
    gen, disc = mlp([4, 64, 64, 2]), mlp([2, 96, 96, 1])
    opt_g = torch.optim.Adam(gen.parameters(), lr=1e-3, betas=(0.0, 0.99))
    opt_d = torch.optim.Adam(disc.parameters(), lr=2e-3, betas=(0.0, 0.99))
    curve = []
    with observe(gen, opt_g):
        for step in range(1400):
            real = moons(128, g)
            fake = gen(torch.randn(128, 4, generator=g)).detach()
            opt_d.zero_grad()
            critic_loss(disc, real, fake).backward()
            opt_d.step()

            loss = F.softplus(-disc(gen(torch.randn(128, 4, generator=g)))).mean()
            opt_g.zero_grad()
            loss.backward()
            opt_g.step()
            curve.append(loss.item())
    with torch.no_grad():
        d = sliced_wasserstein(gen(torch.randn(4000, 4, generator=g)), moons(4000, g))
    return {"metric": d, "better": "lower", "curve": curve}
