"""zero_grad stands before the loop over batches: gradients pile up through each epoch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "zero-grad-per-epoch"
FAMILY = "cnn"
TITLE = "zero_grad outside the training stage, once an epoch"
SOURCE = "github: salesforce/corr_based_prediction issue 1, 'Does the model need accumulate the gradients?'"
TRUTH: Truth = {
    "mechanisms": ["gradients_not_cleared"],
    "layers": None,
    "onset": (0, 1),
    "symptom": "loss_divergence",
}


def conv_bn(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
    )


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    net = nn.Sequential(
        conv_bn(1, 16), nn.MaxPool2d(2), conv_bn(16, 24), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24 * 4, 10),
    )  # fmt: skip
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    with observe(net, opt) as watch:
        for epoch in range(4):
            net.train()
            opt.zero_grad()
            for index in batches(len(y), 32, 44, 10 * seed + epoch):
                if fixed:
                    opt.zero_grad()
                loss = F.cross_entropy(net(x[index]), y[index])
                loss.backward()
                opt.step()
                losses.append(loss.item())
                watch.loss(loss.item())
    net.eval()
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", losses)
