"""An interatomic potential is first fitted to cheap forces (weight 1000, as the papers advise) and from step 250 on to a few
expensive energies in other units. Both stages share one AMSGrad optimizer: its running maximum of the squared gradients keeps the
size of the force stage and never comes down, so the second stage moves some twenty times too slowly. People leave `amsgrad=True` in
because it came with the published configuration."""

import math
import torch
from torch import nn

ID = "b_forcefield_transfer"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 250}
SWITCH, TOTAL, ATOMS = 250, 800, 5


class Radial(nn.Module):
    def __init__(self, k=16, rmax=4.0):
        super().__init__()
        self.register_buffer("mu", torch.linspace(0.5, rmax, k))
        self.gamma = (k / rmax) ** 2 / 2

    def forward(self, r):
        return torch.exp(-self.gamma * (r.unsqueeze(-1) - self.mu) ** 2)


class Potential(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.radial = Radial()
        self.filter = nn.Linear(16, width)
        self.update = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.readout = nn.Linear(width, 1)

    def forward(self, pos):
        diff = pos.unsqueeze(2) - pos.unsqueeze(1)
        eye = torch.eye(ATOMS)
        r = (diff.pow(2).sum(-1) + eye).sqrt()
        w = self.filter(self.radial(r)) * (1 - eye).unsqueeze(-1)
        h = torch.tanh(torch.einsum("bijf->bif", w))
        return self.readout(self.update(h)).sum((1, 2))


def level(pos, depth, r0, three):
    iu = torch.triu_indices(ATOMS, ATOMS, 1)
    r = (pos[:, iu[0]] - pos[:, iu[1]]).norm(dim=-1)
    pair = depth * ((1 - torch.exp(-1.3 * (r - r0))) ** 2 - 1)
    dens = torch.exp(-r).sum(-1)
    return pair.sum(-1) - three * dens.pow(1.5)


def geometries(n, gen):
    ring = torch.tensor(
        [
            [math.cos(2 * math.pi * k / ATOMS), math.sin(2 * math.pi * k / ATOMS), 0.0]
            for k in range(ATOMS)
        ]
    )
    return 1.4 * ring + 0.25 * torch.randn(n, ATOMS, 3, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 50)
    pos = geometries(1500, gen).requires_grad_()
    forces = -torch.autograd.grad(level(pos, 1.0, 1.6, 0.0).sum(), pos)[0]
    pos = pos.detach()
    hi = geometries(1500, gen)
    e_hi = level(hi, 0.6, 1.9, 1.5)
    shift, scale = e_hi.mean(), e_hi.std()
    e_hi = (e_hi - shift) / scale
    test = geometries(500, gen)
    e_test = (level(test, 0.6, 1.9, 1.5) - shift) / scale

    model = Potential()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99), amsgrad=not fixed)
    curve = []
    with observe(model, opt):
        for step in range(TOTAL):
            opt.zero_grad()
            if step < SWITCH:
                i = torch.randint(0, len(pos), (32,), generator=gen)
                p = pos[i].requires_grad_()
                f = -torch.autograd.grad(model(p).sum(), p, create_graph=True)[0]
                loss = 1000.0 * (f - forces[i]).pow(2).mean()
            else:
                i = torch.randint(0, len(hi), (32,), generator=gen)
                loss = (model(hi[i]) - e_hi[i]).pow(2).mean()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = (model(test) - e_test).abs().mean().item()
    return {"metric": metric, "better": "lower", "curve": curve}
