"""Healthy: a non-saturating GAN with R1-like penalty on a ring of eight Gaussians. The generator loss rises and wanders by design; one
optimizer with two parameter groups, discriminator and generator updated in turns inside each step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_gan_ring_ok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
CENT = torch.stack(
    [torch.tensor([math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)]) for k in range(8)]
)


def real(n, g):
    return CENT[torch.randint(0, 8, (n,), generator=g)] + 0.08 * torch.randn(n, 2, generator=g)


def mlp(i, o, act):
    return nn.Sequential(nn.Linear(i, 96), act(), nn.Linear(96, 96), act(), nn.Linear(96, o))


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.G, self.D = mlp(8, 2, nn.ReLU), mlp(2, 1, lambda: nn.LeakyReLU(0.2))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    gan = GAN()
    opt = torch.optim.Adam(
        [{"params": gan.G.parameters(), "lr": 5e-4}, {"params": gan.D.parameters(), "lr": 1e-3}],
        betas=(0.5, 0.99),
    )
    curve = []
    with observe(gan, opt):
        for step in range(1500):
            x = real(128, g).requires_grad_(True)
            fake = gan.G(torch.randn(128, 8, generator=g))
            gan.D.requires_grad_(True)
            dr = gan.D(x)
            gp = torch.autograd.grad(dr.sum(), x, create_graph=True)[0].pow(2).sum(1).mean()
            d_loss = F.softplus(-dr).mean() + F.softplus(gan.D(fake.detach())).mean() + 0.1 * gp
            opt.zero_grad()
            d_loss.backward()
            gan.D.requires_grad_(False)
            g_loss = F.softplus(-gan.D(fake)).mean()
            g_loss.backward()
            gan.D.requires_grad_(True)
            opt.step()
            curve.append(g_loss.item())
    with torch.no_grad():
        s = gan.G(torch.randn(4000, 8, generator=g))
        d, k = torch.cdist(s, CENT).min(1)
        good = d < 0.3
        share = torch.bincount(k[good], minlength=8).float() / 4000
    return {"metric": share.clamp(max=1 / 8).sum().item(), "better": "higher", "curve": curve}
