"""Healthy. Hinge GAN on a ring of 8 Gaussians with two optimizers (TTUR), spectral norm, betas (0, 0.9), EMA generator. Losses of both players wander
and the generator's loss rises; the samples are good. observe gets the two optimizers as a list."""

import copy, math
import torch, torch.nn as nn, torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm

ID = "b_h_gan_ring"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ResG(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(d, d), nn.LayerNorm(d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, x):
        return x + self.f(x)


class Generator(nn.Module):
    def __init__(self, z=8, d=64):
        super().__init__()
        self.z = z
        self.net = nn.Sequential(nn.Linear(z, d), ResG(d), ResG(d), nn.SiLU(), nn.Linear(d, 2))

    def forward(self, n):
        return self.net(torch.randn(n, self.z))


class Critic(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        sn = spectral_norm
        self.register_buffer("freq", torch.randn(2, 16) * 1.5)
        self.net = nn.Sequential(
            sn(nn.Linear(34, d)),
            nn.LeakyReLU(0.2),
            sn(nn.Linear(d, d)),
            nn.LeakyReLU(0.2),
            sn(nn.Linear(d, 1)),
        )

    def forward(self, x):
        p = x @ self.freq
        return self.net(torch.cat([x, p.sin(), p.cos()], -1)).squeeze(-1) * 3


def real(n, g=None):
    a = torch.randint(0, 8, (n,), generator=g) * math.pi / 4
    return 1.4 * torch.stack([a.cos(), a.sin()], 1) + 0.08 * torch.randn(n, 2, generator=g)


def energy_distance(a, b):
    return (
        2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
    ).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    G, D = Generator(), Critic()
    ema = copy.deepcopy(G).requires_grad_(False)
    model = nn.ModuleDict({"G": G, "D": D})
    og = torch.optim.Adam(G.parameters(), lr=5e-4, betas=(0.0, 0.9))
    od = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.0, 0.9))
    curve = []
    with observe(model, [og, od]):
        for step in range(1000):
            x = real(128)
            with torch.no_grad():
                f = G(128)
            ld = F.relu(1 - D(x)).mean() + F.relu(1 + D(f)).mean()
            od.zero_grad()
            ld.backward()
            od.step()
            D.requires_grad_(False)
            lg = -D(G(128)).mean()
            og.zero_grad()
            lg.backward()
            og.step()
            D.requires_grad_(True)
            with torch.no_grad():
                for a, b in zip(ema.parameters(), G.parameters()):
                    a.lerp_(b, 0.01)
            curve.append(lg.item())
    with torch.no_grad():
        d = energy_distance(ema(1000), real(1000))
    return {"metric": d, "better": "lower", "curve": curve}
