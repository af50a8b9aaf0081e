"""WGAN-GP; the gradient penalty calls autograd.grad without create_graph=True, so it never constrains the critic."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "wgan-gp-no-create-graph"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (0, 10)}


def real_images(n, g, s=8):
    """Soft bars: orientation, offset and width vary."""
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    side = torch.randint(0, 2, (n, 1, 1), generator=g).float()
    c = 2 + 3 * torch.rand(n, 1, 1, generator=g)
    w = 0.8 + 0.6 * torch.rand(n, 1, 1, generator=g)
    d = side * (xx - c) + (1 - side) * (yy - c)
    return 2 * torch.exp(-((d / w) ** 2)).flatten(1) - 1


class Generator(nn.Module):
    def __init__(self, z=8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(z, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 64), nn.Tanh()
        )

    def forward(self, z):
        return self.net(z)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 1)

    def forward(self, x):
        x = F.leaky_relu(self.l1(x), 0.2)
        x = F.leaky_relu(self.l2(x), 0.2)
        return self.l3(x)


def gradient_penalty(critic, real, fake, fixed):
    a = torch.rand(len(real), 1)
    x = (a * real + (1 - a) * fake).requires_grad_(True)
    grad = torch.autograd.grad(critic(x).sum(), x, create_graph=fixed)[0]
    return ((grad.norm(2, dim=1) - 1) ** 2).mean()


def energy_distance(a, b):
    return (
        2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    ).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    G, D = Generator(), Critic()
    opt_d = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.0, 0.9))
    curve = []
    with observe(D, opt_d):
        for it in range(500):
            real = real_images(64, g)
            fake = G(torch.randn(64, 8, generator=g)).detach()
            gp = gradient_penalty(D, real, fake, fixed)
            d_loss = D(fake).mean() - D(real).mean() + 10.0 * gp
            opt_d.zero_grad()
            d_loss.backward()
            opt_d.step()
            curve.append(d_loss.item())
            if it % 3 == 2:
                opt_g.zero_grad()
                (-D(G(torch.randn(64, 8, generator=g))).mean()).backward()
                opt_g.step()
    h = torch.Generator().manual_seed(4242)
    with torch.no_grad():
        fake = G(torch.randn(500, 8, generator=h))
    return {"metric": energy_distance(fake, real_images(500, h)), "better": "lower", "curve": curve}
