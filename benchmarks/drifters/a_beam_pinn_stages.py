"""A physics-informed network solves the deflection equation of a bar in two stages: first the boundary values with a large penalty, then
the equation itself with weights of order one. One Adam with a very long second-moment memory runs through both; its averages from the
stage with gradients of hundreds shrink every step of the second stage, which looks as if it had converged."""

import math

import torch
import torch.nn as nn

ID = "a_beam_pinn_stages"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": (300, 302)}


class Field(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.net(2 * x - 1)


def exact(x):
    return torch.sin(2 * math.pi * x) + 0.5 * x


def residual(field, x):
    x = x.requires_grad_(True)
    u = field(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (d2u,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    force = -((2 * math.pi) ** 2) * torch.sin(2 * math.pi * x)
    return (d2u - force.detach()) / (2 * math.pi) ** 2


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    field = Field()
    optimizer = torch.optim.Adam(field.parameters(), lr=2e-3, betas=(0.9, 0.9999))
    ends = torch.tensor([[0.0], [1.0]])
    curve = []
    with observe(field, optimizer):
        for step in range(1400):
            if step == 300 and fixed:
                optimizer.state.clear()
            gap = ((field(ends) - exact(ends)) ** 2).mean()
            if step < 300:
                # the ends, and a rough measured curve from the strain gauges nearby
                near = torch.rand(32, 1, generator=gen)
                gauge = 0.5 * near + 0.2 * torch.randn(32, 1, generator=gen)
                loss = 1e4 * (gap + ((field(near) - gauge) ** 2).mean())
            else:
                x = torch.rand(48, 1, generator=gen)
                loss = (residual(field, x) ** 2).mean() + gap
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    grid = torch.linspace(0, 1, 201).unsqueeze(1)
    with torch.no_grad():
        err = ((field(grid) - exact(grid)).norm() / exact(grid).norm()).item()
    return {"metric": err, "better": "lower", "curve": curve}
