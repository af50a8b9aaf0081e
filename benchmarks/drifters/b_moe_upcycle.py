"""A mixture of experts models the joint torques of a robot whose dynamics differ by contact mode. The experts are made by
copying one dense block ('sparse upcycling') and the router starts at zero, so all experts get the same gradient for ever and
the router none. The copies should have been drawn anew or disturbed; the loss falls a little, so nobody notices."""

import copy
import torch
from torch import nn

ID = "b_moe_upcycle"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["moe", "moe.router", "moe.experts"]
    + [f"moe.experts.{i}" for i in range(8)]
    + [f"moe.experts.{i}.{j}" for i in range(8) for j in (0, 1, 2)],
    "onset": 0,
}


class MixtureLayer(nn.Module):
    def __init__(self, width, hidden, n, copies):
        super().__init__()

        def expert():
            return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))

        if copies:
            dense = expert()
            self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(n))
        else:
            self.experts = nn.ModuleList(expert() for _ in range(n))
        self.router = nn.Linear(width, n)
        nn.init.zeros_(self.router.weight)
        nn.init.zeros_(self.router.bias)

    def forward(self, h):
        gate = self.router(h).softmax(-1)
        return torch.einsum("bn,nbd->bd", gate, torch.stack([e(h) for e in self.experts]))


class Dynamics(nn.Module):
    def __init__(self, copies):
        super().__init__()
        self.inp = nn.Linear(6, 20)
        self.moe = MixtureLayer(20, 6, 8, copies)
        self.out = nn.Linear(20, 3)

    def forward(self, s):
        h = self.inp(s)
        return self.out(self.moe(h))


def rollouts(n, gen, world):
    a, b, plane = world
    s = torch.randn(n, 6, generator=gen)
    mode = ((s @ plane > 0).long() * torch.tensor([1, 2, 4])).sum(-1)
    torque = torch.einsum("nij,nj->ni", a[mode], s) + torch.einsum(
        "nij,nj->ni", b[mode], torch.sin(2 * s)
    )
    return s, torque / torque.std(0) + 0.05 * torch.randn(n, 3, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(11 + seed)
    world = (
        torch.randn(8, 3, 6, generator=gen),
        0.4 * torch.randn(8, 3, 6, generator=gen),
        torch.randn(6, 3, generator=gen),
    )
    x, y = rollouts(6000, gen, world)
    xv, yv = rollouts(1500, gen, world)
    model = Dynamics(copies=not fixed)
    optimizer = torch.optim.RAdam(model.parameters(), lr=6e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, 1200)
    curve = []
    with observe(model, optimizer):
        for step in range(1200):
            pick = torch.randint(0, len(x), (128,), generator=gen)
            loss = (model(x[pick]) - y[pick]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(xv) - yv).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
