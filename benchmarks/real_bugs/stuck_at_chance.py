"""A plain ReLU network and Adam: the loss stays at ln 10 and the parameters turn negative."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "stuck-at-chance"
FAMILY = "cnn"
TITLE = "Cross-entropy stays at 2.30 with Adam at a high learning rate"
SOURCE = "discuss.pytorch.org: 'Cross Entropy loss is not decreasing', topic 43814, post 16"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_high", "dead_units"],
    "layers": None,
    "onset": (0, 10),
    "symptom": "loss_plateau",
}


class VGGish(nn.Module):
    cfg = (16, 16, "M", 32, 32, "M")

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for item in self.cfg:
            if item == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, int(item), 3, padding=1), nn.ReLU()]
                channels = int(item)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(32 * 4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    model = VGGish()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3 if fixed else 0.06)
    losses: list[float] = []
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 50, 200, seed):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
