"""A physics-informed network solves the heat equation. The initial and boundary data are fitted first with a very large weight, and at
step 150 the weight is dropped so that the residual can take over. With beta2 = 0.99995 Adam keeps the squared gradients of the first
phase, thousands of times larger, in its denominator, and the second phase hardly moves.
People raise beta2 for smoother runs and forget that it sets how long the optimizer remembers a change of the loss scale."""

import math

import torch
import torch.nn as nn

ID = "b_pinn_two_phase"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 150}

NU, SWITCH, STEPS = 0.1, 150, 1300


class FieldNet(nn.Module):
    def __init__(self, width=40):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)]
        )
        self.out = nn.Linear(width, 1)
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, t, x):
        h = torch.cat([2 * t - 1, 2 * x - 1], 1)
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return self.out(h)


def exact(t, x):
    k1, k2 = math.pi, 2 * math.pi
    return torch.exp(-NU * k1**2 * t) * torch.sin(k1 * x) + 0.5 * torch.exp(
        -NU * k2**2 * t
    ) * torch.sin(k2 * x)


def residual(model, t, x):
    t.requires_grad_(True)
    x.requires_grad_(True)
    u = model(t, x)
    ut, ux = torch.autograd.grad(u.sum(), (t, x), create_graph=True)
    uxx = torch.autograd.grad(ux.sum(), x, create_graph=True)[0]
    return ut - NU * uxx


def data_term(model, g, n=64):
    x0 = torch.rand(n, 1, generator=g)
    tb = torch.rand(n, 1, generator=g)
    xb = torch.randint(0, 2, (n, 1), generator=g).float()
    start = (model(torch.zeros_like(x0), x0) - exact(torch.zeros_like(x0), x0)).pow(2).mean()
    wall = model(tb, xb).pow(2).mean()
    return start + wall


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 13)
    model = FieldNet()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=4e-3, betas=(0.9, 0.99 if fixed else 0.99995), eps=1e-10
    )
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            weight = 1e5 if step < SWITCH else 20.0
            physics = (
                residual(model, torch.rand(128, 1, generator=g), torch.rand(128, 1, generator=g))
                .pow(2)
                .mean()
            )
            loss = physics + weight * data_term(model, g)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        t, x = torch.meshgrid(torch.linspace(0, 1, 41), torch.linspace(0, 1, 41), indexing="ij")
        t, x = t.reshape(-1, 1), x.reshape(-1, 1)
        u = exact(t, x)
        error = ((model(t, x) - u).norm() / u.norm()).item()
    return {"metric": error, "better": "lower", "curve": curve}
