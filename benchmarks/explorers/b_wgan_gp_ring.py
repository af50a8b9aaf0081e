"""Healthy but odd: a WGAN with gradient penalty on a ring of Gaussians; neither loss goes down
steadily and both wander through zero, while the samples get steadily better."""

import math

import torch
from torch import nn

ID = "wgan-gp-ring"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def mlp(n_in, width, n_out, act):
    return nn.Sequential(
        nn.Linear(n_in, width),
        act(),
        nn.Linear(width, width),
        act(),
        nn.Linear(width, n_out),
    )


class GAN(nn.Module):
    def __init__(self, latent=4):
        super().__init__()
        self.latent = latent
        self.generator = mlp(latent, 96, 2, nn.ReLU)
        self.critic = mlp(2, 96, 1, lambda: nn.LeakyReLU(0.2))

    def sample(self, n):
        return self.generator(torch.randn(n, self.latent))


def ring(n):
    a = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return torch.stack([a.cos(), a.sin()], 1) * 1.4 + 0.15 * torch.randn(n, 2)


def gradient_penalty(critic, real, fake):
    mix = torch.lerp(fake, real, torch.rand(len(real), 1)).requires_grad_(True)
    (g,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
    return ((g.square().sum(1) + 1e-12).sqrt() - 1).square().mean()


def sliced_distance(a, b, directions=64):
    t = torch.arange(directions) * (math.pi / directions)
    d = torch.stack([t.cos(), t.sin()])
    return ((a @ d).sort(0).values - (b @ d).sort(0).values).abs().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gan = GAN()
    opt_g = torch.optim.Adam(gan.generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    opt_c = torch.optim.Adam(gan.critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    decay = [
        torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=500) for o in (opt_g, opt_c)
    ]
    curve = []
    with observe(gan, opt_g):
        for _ in range(500):
            for _ in range(4):
                real = ring(128)
                with torch.no_grad():
                    fake = gan.sample(128)
                score = gan.critic(fake).mean() - gan.critic(real).mean()
                loss_c = score + 2.0 * gradient_penalty(gan.critic, real, fake)
                opt_c.zero_grad()
                loss_c.backward()
                opt_c.step()
            gan.critic.requires_grad_(False)
            loss_g = -gan.critic(gan.sample(128)).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            gan.critic.requires_grad_(True)
            for sched in decay:
                sched.step()
            curve.append(loss_g.item())
    with torch.no_grad():
        dist = sliced_distance(gan.sample(4000), ring(4000))
    return {"metric": dist, "better": "lower", "curve": curve}
