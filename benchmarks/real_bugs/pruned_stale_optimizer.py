"""Pruning replaces the layers by smaller ones, and fine-tuning goes on with the old optimizer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "pruned-stale-optimizer"
FAMILY = "cnn"
TITLE = "Fine-tuning after structured pruning: the optimizer still holds the old layers"
SOURCE = "github: microsoft/nni issue 4521, 'The parameters are not updated when the pruned model is finetuned'"
TRUTH: Truth = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["conv1", "conv2", "fc"],
    "onset": 0,
    "symptom": "loss_plateau",
}


class LeNetish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


def speedup(net: LeNetish) -> None:
    """Keep the first half of the filters, in new, smaller modules."""
    keep1, keep2 = 5, 8
    conv1, conv2, fc = net.conv1, net.conv2, net.fc
    net.conv1 = nn.Conv2d(1, keep1, 3, padding=1)
    net.conv2 = nn.Conv2d(keep1, keep2, 3, padding=1)
    net.fc = nn.Linear(keep2 * 4, 10)
    with torch.no_grad():
        net.conv1.weight.copy_(conv1.weight[:keep1])
        net.conv1.bias.copy_(conv1.bias[:keep1])
        net.conv2.weight.copy_(conv2.weight[:keep2, :keep1])
        net.conv2.bias.copy_(conv2.bias[:keep2])
        net.fc.weight.copy_(fc.weight[:, : keep2 * 4])
        net.fc.bias.copy_(fc.bias)


def one_step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    net = LeNetish()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for index in batches(len(y), 64, 60, seed):
        one_step(net, optimizer, x[index], y[index])
    speedup(net)
    if fixed:
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    with observe(net, optimizer) as watch:
        for index in batches(len(y), 64, 150, seed + 1):
            losses.append(one_step(net, optimizer, x[index], y[index]))
            watch.loss(losses[-1])
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", losses)
