"""A physics-informed network for an equation whose solution is of the order of a thousand."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "pinn-solution-scale"
FAMILY = "pinn"
TITLE = "PDE solution not of scale O(1)"
SOURCE = "github: lululxvi/deepxde issue 33, '1D Helmholtz equation with NBC and RBC'"
TRUTH: Truth = {
    "mechanisms": ["unnormalized_targets"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}
SIZE = 1000.0


class FNN(nn.Module):
    def __init__(self, layer_size: list[int], scale: float) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(layer_size))
        for linear in self.linears:
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = torch.tanh(linear(x))
        return self.scale * self.linears[-1](x)


def exact(x: Tensor) -> Tensor:
    return SIZE * torch.cos(0.5 * math.pi * x) + 0.3 * SIZE * x


def residuals(net: nn.Module, x: Tensor) -> Tensor:
    """-u'' = f inside, u given on both ends; both weighed as they come."""
    x = x.requires_grad_(True)
    u = net(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    source = SIZE * (0.5 * math.pi) ** 2 * torch.cos(0.5 * math.pi * x)
    ends = torch.tensor([[-1.0], [1.0]])
    return (ddu + source).pow(2).mean() + 10 * (net(ends) - exact(ends)).pow(2).mean()


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    scale = SIZE if fixed else 1.0
    net = FNN([1, 32, 32, 1], scale)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    with observe(net, optimizer) as watch:
        for _ in range(500):
            loss = residuals(net, 2 * torch.rand(32, 1) - 1)
            if fixed:
                loss = loss / SIZE**2  # the same equation, rescaled
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    x = torch.linspace(-1, 1, 101)[:, None]
    with torch.no_grad():
        return ended((net(x) - exact(x)).norm() / exact(x).norm(), "lower", losses)
