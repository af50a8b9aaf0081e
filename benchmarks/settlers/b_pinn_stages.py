"""A physics-informed net solves u'' - u = f on [0, 1] in two stages: first the known values at the ends and at some sensors
are fitted with weight 1e4, then the residual of the equation joins with everything at weight 1. Adam keeps its second moment from the
first stage, which is larger by many orders, and hardly moves in the second."""

import math

import torch
import torch.nn as nn

ID = "b_pinn_stages"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 200}

STAGE_1, STAGE_2 = 200, 900


def exact(x):
    return torch.sin(2 * math.pi * x) + 0.5 * torch.sin(5 * math.pi * x)


def source(x):
    a, b = 2 * math.pi, 5 * math.pi
    return -(a * a + 1) * torch.sin(a * x) - 0.5 * (b * b + 1) * torch.sin(b * x)


class Field(nn.Module):
    def __init__(self, width=40):
        super().__init__()
        self.inp = nn.Linear(1, width)
        self.mid = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.out = nn.Linear(width, 1)
        with torch.no_grad():
            self.inp.weight.uniform_(-8, 8)

    def forward(self, x):
        h = torch.tanh(self.inp(2 * x - 1))
        for layer in self.mid:
            h = torch.tanh(layer(h))
        return self.out(h)


def residual(net, x):
    x = x.requires_grad_(True)
    u = net(x)
    du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    ddu = torch.autograd.grad(du.sum(), x, create_graph=True)[0]
    return (ddu - u - source(x)) / 100.0


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    net = Field()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    xb = torch.tensor([[0.0], [1.0], [0.5]])
    ub = exact(xb)
    curve = []

    def stage_one():
        opt.zero_grad()
        loss = 1e4 * (net(xb) - ub).pow(2).mean()
        loss.backward()
        return loss

    def stage_two():
        opt.zero_grad()
        x = torch.rand(64, 1)
        loss = residual(net, x).pow(2).mean() + (net(xb) - ub).pow(2).mean()
        loss.backward()
        return loss

    with observe(net, opt):
        for step in range(STAGE_1 + STAGE_2):
            if step == STAGE_1 and fixed:
                opt.state.clear()  # the moments belong to the old loss
            closure = stage_one if step < STAGE_1 else stage_two
            curve.append(opt.step(closure).item())

    grid = torch.linspace(0, 1, 400).unsqueeze(1)
    with torch.no_grad():
        err = ((net(grid) - exact(grid)).pow(2).mean() / exact(grid).pow(2).mean()).sqrt().item()
    return {"metric": err, "better": "lower", "curve": curve}
