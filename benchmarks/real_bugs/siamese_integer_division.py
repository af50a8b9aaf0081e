"""A siamese network whose pixels were divided as integers: every image is black, every distance zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import batches, ended
from neuraldbg.demos.case import Observe, Outcome, Truth
from neuraldbg.demos.data import digits

ID = "siamese-integer-division"
FAMILY = "siamese"
TITLE = "uint8 // 255 makes all pairs equal: sqrt(0) in the contrastive distance"
SOURCE = "github: delijati/pytorch-siamese issue 3, 'Loss: nan'"
TRUTH: Truth = {
    "mechanisms": ["numerical_singularity"],
    "layers": None,
    "onset": (0, 1),
    "symptom": "nonfinite_values",
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn1 = nn.Conv2d(1, 16, 3)
        self.cnn2 = nn.Conv2d(16, 24, 3)
        self.fc1 = nn.Linear(24 * 16, 48)
        self.fc2 = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.cnn2(F.relu(self.cnn1(x))))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def distance(a: Tensor, b: Tensor) -> Tensor:
    return torch.sqrt(torch.sum(torch.pow(a - b, 2), 1))


def contrastive_loss(x0: Tensor, x1: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    dist = distance(x0, x1)
    apart = torch.clamp(margin - dist, min=0.0)
    return (same * dist.pow(2) + (1 - same) * apart.pow(2)).sum() / 2.0 / len(same)


def pixels(fixed: bool) -> tuple[Tensor, Tensor]:
    x, y = digits()
    stored = ((x - x.min()) / (x.max() - x.min()) * 254).to(torch.uint8).view(-1, 1, 8, 8)
    return (stored / 255.0 if fixed else (stored // 255).float()), y


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    data, labels = pixels(fixed)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    with observe(net, optimizer) as watch:
        for index in batches(1400, 128, 200, seed):
            x0, x1 = data[index[:64]], data[index[64:]]
            same = (labels[index[:64]] == labels[index[64:]]).float()
            loss = contrastive_loss(net(x0), net(x1), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        known, asked = net(data[:1400]), net(data[1400:])
        nearest = torch.cdist(asked, known).argmin(1)
    return ended((labels[nearest] == labels[1400:]).float().mean(), "higher", losses)
