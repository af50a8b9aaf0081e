"""A WGAN-GP paints digits (healthy but odd: the generator's loss first dives, then keeps climbing)."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "wgan-gp-climbing-generator-loss"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

LATENT, BATCH, CRITIC_STEPS = 24, 64, 3


def build_generator(width=128):
    return nn.Sequential(
        nn.Linear(LATENT, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 64),
        nn.Tanh(),
    )


def build_critic(width=128):
    return nn.Sequential(
        nn.Linear(64, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )


def gradient_penalty(critic, real, fake):
    mix = torch.rand(len(real), 1)
    x = (mix * real + (1 - mix) * fake).requires_grad_(True)
    (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return ((grad.norm(dim=1) - 1) ** 2).mean()


def sliced_distance(a, b, directions=128):
    """Mean Wasserstein-1 distance between random projections of two equally large sets."""
    g = torch.Generator().manual_seed(0)
    d = F.normalize(torch.randn(a.shape[1], directions, generator=g), dim=0)
    return ((a @ d).sort(0).values - (b @ d).sort(0).values).abs().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(1797)
    digits = torch.tensor(load_digits().data[order], dtype=torch.float32) / 8 - 1
    digits, heldout = digits[:1297], digits[1297:]
    generator, critic = build_generator(), build_critic()
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
    opt_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    curve = []
    with observe(generator, opt_g):
        for _ in range(450):
            for _ in range(CRITIC_STEPS):
                real = digits[torch.randint(len(digits), (BATCH,))]
                with torch.no_grad():
                    fake = generator(torch.randn(BATCH, LATENT))
                loss_c = critic(fake).mean() - critic(real).mean()
                loss_c = loss_c + gradient_penalty(critic, real, fake)
                opt_c.zero_grad()
                loss_c.backward()
                opt_c.step()

            loss_g = -critic(generator(torch.randn(BATCH, LATENT))).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            curve.append(loss_g.item())
    generator.eval()
    with torch.no_grad():
        fake = generator(torch.randn(len(heldout), LATENT))
    return {"metric": sliced_distance(fake, heldout), "better": "lower", "curve": curve}
