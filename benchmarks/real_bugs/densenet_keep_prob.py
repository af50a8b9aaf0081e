"""A dense block ported with keep_prob where Dropout wants the share to drop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "densenet-keep-prob"
FAMILY = "densenet"
TITLE = "Dropout(p=keep_prob)"
SOURCE = "github: pudae/tensorflow-densenet pull request 22, 'fixed dropout/keep_prob confusion' (re-expressed in PyTorch)"
TRUTH: Truth = {
    "mechanisms": ["excessive_dropout"],
    "layers": [f"block.{i}.drop" for i in range(4)],
    "onset": 0,
    "symptom": "loss_plateau",
}
KEEP_PROB = 0.85


class DenseLayer(nn.Module):
    def __init__(self, cin: int, growth: int, rate: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, cin)
        self.conv = nn.Conv2d(cin, growth, 3, padding=1)
        self.drop = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.drop(self.conv(F.relu(self.norm(x))))], 1)


class DenseNet(nn.Module):
    def __init__(self, rate: float, growth: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.block = nn.Sequential(*(DenseLayer(4 + growth * i, growth, rate) for i in range(4)))
        self.norm = nn.GroupNorm(1, 4 + 4 * growth)
        self.last = nn.Linear(4 + 4 * growth, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.block(self.stem(x))))
        return self.last(h.mean((-1, -2)))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    model = DenseNet(rate=1 - KEEP_PROB if fixed else KEEP_PROB)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    model.train()
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 64, 250, seed):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    model.eval()
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
