"""model.half() with Adam and its default epsilon, which is zero in half precision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.real_bugs.material import accuracy, batches, ended, split_digits
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "halved-adam-eps"
FAMILY = "mlp"
TITLE = "Half-precision weights with Adam(eps=1e-8)"
SOURCE = "github: pytorch/pytorch issue 8860, 'NaN loss when using half precision'"
TRUTH: Truth = {
    "mechanisms": ["half_precision_underflow", "half_precision_overflow", "numerical_singularity"],
    "layers": None,
    "onset": (0, 2),
    "symptom": "nonfinite_values",
}


def happy_net() -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in ((64, 96), (96, 64), (64, 48)):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(48, 10))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = split_digits()
    x, held = x.half(), held.half()
    net = happy_net().half()
    eps = 1e-4 if fixed else 1e-8
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=eps)
    losses = []
    with observe(net, optimizer) as watch:
        for index in batches(len(y), 64, 200, seed):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", losses)
