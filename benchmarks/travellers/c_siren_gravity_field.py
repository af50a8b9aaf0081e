"""Healthy but odd: a sine-activated network fits a gravity potential through its gradient; the loss
starts far above one and the pre-activations span several periods."""

import math

import torch
from torch import nn

ID = "c-siren-gravity-field"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Sine(nn.Module):
    def __init__(self, d_in, d_out, omega, first=False):
        super().__init__()
        self.omega = omega
        self.linear = nn.Linear(d_in, d_out)
        bound = 1 / d_in if first else math.sqrt(6 / d_in) / omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))


class Siren(nn.Module):
    def __init__(self, width=96, omega=15.0):
        super().__init__()
        self.layers = nn.Sequential(
            Sine(2, width, omega, first=True), Sine(width, width, omega), Sine(width, width, omega)
        )
        self.out = nn.Linear(width, 1)
        nn.init.uniform_(self.out.weight, -0.05, 0.05)

    def forward(self, x):
        return self.out(self.layers(x)).squeeze(-1)


def masses(n=7):
    return torch.rand(n, 2) * 1.6 - 0.8, 0.3 + torch.rand(n)


def potential(x, where, mass):
    gap = (x[:, None] - where[None]).pow(2).sum(-1)
    return -(mass / torch.sqrt(gap + 0.04)).sum(1)


def slope(fn, x, create_graph=False):
    x = x.requires_grad_(True)
    u = fn(x)
    return u, torch.autograd.grad(u.sum(), x, create_graph=create_graph)[0]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    where, mass = masses()
    model = Siren()
    opt = torch.optim.Adam(model.parameters(), lr=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 400)
    curve = []
    with observe(model, opt):
        for _ in range(400):
            x = torch.rand(384, 2) * 2 - 1
            u, force = slope(lambda p: potential(p, where, mass), x)
            guess, pull = slope(model, x.detach(), create_graph=True)
            loss = (pull - force).pow(2).mean() + (guess - u.detach() - 8).pow(2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    x = torch.rand(1000, 2) * 2 - 1
    _, force = slope(lambda p: potential(p, where, mass), x)
    _, pull = slope(model, x.detach())
    err = (pull - force).pow(2).sum() / force.pow(2).sum()
    return {"metric": err.item(), "better": "lower", "curve": curve}
