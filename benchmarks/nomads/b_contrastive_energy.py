"""HEALTHY. An energy model of small ring-shaped images is trained by persistent contrastive divergence with Langevin sampling.
The loss is a difference of two mean energies: it wanders about zero, changes its sign and never goes down, since the samples get better
together with the model. That is what it should do; the energy ends up separating data from look-alikes very well."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_contrastive_energy"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

SIDE = 12


class Energy(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.c1 = nn.Conv2d(1, width, 3, padding=1)
        self.c2 = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.c3 = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.score = nn.Linear(2 * width * 9, 1)

    def forward(self, x):
        for conv in (self.c1, self.c2, self.c3):
            x = F.silu(conv(x))
        return self.score(x.flatten(1)).squeeze(1)


def rings(n, g, closed=True):
    axis = torch.linspace(-1, 1, SIDE)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    c = 0.5 * (torch.rand(n, 2, 1, 1, generator=g) - 0.5)
    dx, dy = xx - c[:, :1], yy - c[:, 1:]
    r = 0.45 + 0.2 * torch.rand(n, 1, 1, 1, generator=g)
    image = torch.exp(-((((dx**2 + dy**2).sqrt() - r) / 0.14) ** 2))
    if not closed:
        side = torch.randint(0, 2, (n, 1, 1, 1), generator=g)
        gap = torch.where(side == 0, dx, dy) > 0.15
        image = image * (~gap)
    return 2 * image - 1 + 0.05 * torch.randn(n, 1, SIDE, SIDE, generator=g)


class Sampler:
    def __init__(self, size, g):
        self.g = g
        self.pool = torch.rand(size, 1, SIDE, SIDE, generator=g) * 2 - 1

    def draw(self, model, n, steps=8):
        idx = torch.randperm(len(self.pool), generator=self.g)[:n]
        x = self.pool[idx].clone()
        x[: max(1, n // 20)] = torch.rand(max(1, n // 20), 1, SIDE, SIDE, generator=self.g) * 2 - 1
        for _ in range(steps):
            x.requires_grad_(True)
            (grad,) = torch.autograd.grad(model(x).sum(), x)
            noise = 0.01 * torch.randn(x.shape, generator=self.g)
            x = (x.detach() - 2.0 * grad.clamp(-0.05, 0.05) + noise).clamp(-1.2, 1.2)
        self.pool[idx] = x
        return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 61)
    data = rings(4000, g)
    model = Energy()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.0, 0.999))
    sampler = Sampler(1024, g)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            real = data[torch.randint(0, len(data), (32,), generator=g)]
            fake = sampler.draw(model, 32)
            e_real, e_fake = model(real), model(fake)
            loss = (e_real - e_fake).mean() + 0.1 * (e_real.square() + e_fake.square()).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        good = model(rings(800, g))
        bad = model(rings(800, g, closed=False))
        auc = (good[:, None] < bad[None]).float().mean().item()
    return {"metric": auc, "better": "higher", "curve": curve}
