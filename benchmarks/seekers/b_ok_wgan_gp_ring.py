"""Healthy: WGAN-GP on a ring of eight Gaussians. Critic and generator losses wander and change sign, gradients of the critic
include a double backward, Adam runs with beta1=0; the samples end on the ring."""

import math
import torch
import torch.nn as nn

ID = "b_ok_wgan_gp_ring"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class GAN(nn.Module):
    def __init__(self, z=4, h=64):
        super().__init__()
        self.gen = nn.Sequential(
            nn.Linear(z, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 2)
        )
        self.critic = nn.Sequential(
            nn.Linear(2, h), nn.LeakyReLU(0.2), nn.Linear(h, h), nn.LeakyReLU(0.2), nn.Linear(h, 1)
        )


def ring(n, g):
    k = torch.randint(0, 8, (n,), generator=g).float() * math.pi / 4
    return torch.stack([k.cos(), k.sin()], -1) * 1.5 + 0.06 * torch.randn(n, 2, generator=g)


def penalty(critic, real, fake):
    a = torch.rand(len(real), 1)
    x = (a * real + (1 - a) * fake).requires_grad_(True)
    grad = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return ((grad.norm(dim=-1) - 1) ** 2).mean()


def mmd(a, b):
    def k(u, v):
        d = torch.cdist(u, v) ** 2
        return sum(torch.exp(-d / s) for s in (0.05, 0.3, 1.5)).mean()

    return (k(a, a) + k(b, b) - 2 * k(a, b)).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(2 + seed)
    model = GAN()
    opt_d = torch.optim.Adam(model.critic.parameters(), lr=2e-3, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(model.gen.parameters(), lr=2e-3, betas=(0.0, 0.9))
    curve, B = [], 128
    with observe(model, [opt_d, opt_g]):
        for it in range(700):
            for _ in range(2):
                real = ring(B, g)
                with torch.no_grad():
                    fake = model.gen(torch.randn(B, 4))
                loss_d = (
                    model.critic(fake).mean()
                    - model.critic(real).mean()
                    + 1.0 * penalty(model.critic, real, fake)
                )
                opt_d.zero_grad()
                loss_d.backward()
                opt_d.step()
            loss_g = -model.critic(model.gen(torch.randn(B, 4))).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            curve.append(loss_d.item())
    with torch.no_grad():
        score = mmd(model.gen(torch.randn(1000, 4)), ring(1000, g))
    return {"metric": score, "better": "lower", "curve": curve}
