"""An inception-like network with SGD at 0.1 and momentum 0.9, ten times its published rate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "inception-high-rate"
FAMILY = "inception"
TITLE = "Inception without normalisation at learning rate 0.1 with momentum"
SOURCE = 'discuss.pytorch.org: "The gradient descent don\'t work", topic 66435'
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_high", "excessive_momentum"],
    "layers": None,
    "onset": (0, 15),
    "symptom": "loss_plateau",
}


class Inception(nn.Module):
    def __init__(self, c: int, a: int, b: int, d: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(c, a, 1)
        self.three = nn.Sequential(
            nn.Conv2d(c, b // 2, 1), nn.ReLU(), nn.Conv2d(b // 2, b, 3, padding=1)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(c, d, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([self.one(x), self.three(x), self.pool(x)], 1))


def googlenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        Inception(16, 8, 16, 8), Inception(32, 8, 16, 8), nn.MaxPool2d(2),
        Inception(32, 16, 24, 8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(192, 10),
    )  # fmt: skip


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    x, held = 3 * x, 3 * held
    model = googlenet()
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01 if fixed else 0.1, momentum=0.9)
    losses = []
    with observe(model, sgd) as watch:
        for index in batches(len(y), 32, 120, seed):
            sgd.zero_grad()
            loss = F.cross_entropy(model(x[index]), y[index])
            loss.backward()
            sgd.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
