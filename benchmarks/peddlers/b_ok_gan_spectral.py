"""HEALTHY. GAN for 2-D ring data with an own spectral norm (power iteration in buffers), two optimizers, hinge loss.
The losses hover around constants for ever; the samples still land on the ring."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_gan_spectral"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class SN(nn.Module):
    def __init__(self, i, o, gain=1.0):
        super().__init__()
        self.W, self.b = (
            nn.Parameter(torch.randn(o, i) / math.sqrt(i)),
            nn.Parameter(torch.zeros(o)),
        )
        self.register_buffer("u", F.normalize(torch.randn(o), dim=0))
        self.gain = gain

    def forward(self, x):
        with torch.no_grad():
            v = F.normalize(self.W.t() @ self.u, dim=0)
            u = F.normalize(self.W @ v, dim=0)
            if self.training:
                self.u.copy_(u)
        sigma = torch.dot(u, self.W @ v)
        return F.linear(x, self.W * (self.gain / sigma), self.b)


class Plain(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.W, self.b = (
            nn.Parameter(torch.randn(o, i) * math.sqrt(2 / i)),
            nn.Parameter(torch.zeros(o)),
        )

    def forward(self, x):
        return F.linear(x, self.W, self.b)


class Critic(nn.Module):
    def __init__(self, d=96):
        super().__init__()
        self.a, self.b, self.c = SN(2, d, 2.0), SN(d, d, 2.0), SN(d, 1, 2.0)

    def forward(self, x):
        return self.c(F.leaky_relu(self.b(F.leaky_relu(self.a(x), 0.2)), 0.2))[:, 0]


class Gen(nn.Module):
    def __init__(self, z=8, d=96):
        super().__init__()
        self.a, self.b, self.c = Plain(z, d), Plain(d, d), Plain(d, 2)

    def forward(self, z):
        return self.c(F.relu(self.b(F.relu(self.a(z))))) * 0.5


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gen, self.critic = Gen(), Critic()


def ring(n, g):
    t = 6.2832 * torch.rand(n, generator=g)
    r = 1.5 + 0.08 * torch.randn(n, generator=g)
    return torch.stack([r * t.cos(), r * t.sin()], 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 201)
    model = GAN()
    opt_d = torch.optim.Adam(model.critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(model.gen.parameters(), lr=5e-4, betas=(0.0, 0.9))
    ema = [p.detach().clone() for p in model.gen.parameters()]
    curve = []
    with observe(model, opt_g):
        for step in range(1500):
            real, fake = ring(128, g), model.gen(torch.randn(128, 8)).detach()
            ld = F.relu(1 - model.critic(real)).mean() + F.relu(1 + model.critic(fake)).mean()
            opt_d.zero_grad()
            ld.backward()
            opt_d.step()
            lg = -model.critic(model.gen(torch.randn(128, 8))).mean()
            opt_g.zero_grad()
            lg.backward()
            opt_g.step()
            with torch.no_grad():
                for e, p in zip(ema, model.gen.parameters()):
                    e.lerp_(p, 0.02)
            curve.append(lg.item())
    with torch.no_grad():
        for e, p in zip(ema, model.gen.parameters()):
            p.copy_(e)
        s = model.gen(torch.randn(2000, 8))
        near = ((s.norm(dim=1) - 1.5).abs() < 0.3).float()
        sector = ((torch.atan2(s[:, 1], s[:, 0]) + math.pi) / 6.2832 * 12).long().clamp(0, 11)
        cover = (torch.bincount(sector[near > 0], minlength=12) > 40).float().mean()
    return {"metric": (near.mean() * cover).item(), "better": "higher", "curve": curve}
