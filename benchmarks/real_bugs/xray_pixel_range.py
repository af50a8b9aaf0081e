"""A shallow network with default initialisation on images in [-1024, 1024]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "xray-pixel-range"
FAMILY = "cnn"
TITLE = "Pixels between -1024 and 1024: infinite after the first iterations"
SOURCE = "github: mlmed/torchxrayvision issue 9, 'pixel normalization and NN weight inits'"
TRUTH: Truth = {
    "mechanisms": ["unnormalized_inputs"],
    "layers": None,
    "onset": 0,
    "symptom": "nonfinite_values",
}


class Shallow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 24, 3, padding=1, stride=2)
        self.fc = nn.Linear(24 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = F.relu(self.conv2(x))
        return self.fc(x.flatten(1))


def xrays() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images mapped from their range to [-1024, 1024]."""
    x, y, held, target = images()
    low, high = x.min(), x.max()
    return (
        ((x - low) / (high - low) * 2 - 1) * 1024,
        y,
        ((held - low) / (high - low) * 2 - 1) * 1024,
        target,
    )


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = xrays()
    if fixed:
        mean, std = x.mean(), x.std()
        x, held = (x - mean) / std, (held - mean) / std
    model = Shallow()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 64, 150, seed):
            loss = F.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
