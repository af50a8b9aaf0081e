"""BatchNorm layers ported with momentum=0: their running statistics never move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "batchnorm-momentum-zero"
FAMILY = "inception"
TITLE = "BatchNorm2d(momentum=0): good in training, poor in evaluation"
SOURCE = "github: Cadene/pretrained-models.pytorch issue 5, 'BatchNorm momentum set to 0 in Inception models'"
TRUTH: Truth = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["stem.bn", "branch0.bn", "branch1.0.bn", "branch1.1.bn"],
    "onset": (0, 20),
    "symptom": "train_eval_gap",
}


class BasicConv2d(nn.Module):
    def __init__(self, in_planes: int, out_planes: int, kernel_size: int, momentum: float) -> None:
        super().__init__()
        pad = kernel_size // 2
        self.conv = nn.Conv2d(in_planes, out_planes, kernel_size, padding=pad, bias=False)
        self.bn = nn.BatchNorm2d(out_planes, eps=0.001, momentum=momentum, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class MixedNet(nn.Module):
    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.stem = BasicConv2d(1, 16, 3, momentum)
        self.branch0 = BasicConv2d(16, 16, 1, momentum)
        self.branch1 = nn.Sequential(
            BasicConv2d(16, 12, 1, momentum), BasicConv2d(12, 24, 3, momentum)
        )
        self.last_linear = nn.Linear(40 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        x = torch.cat((self.branch0(x), self.branch1(x)), 1)
        return self.last_linear(F.max_pool2d(x, 2).flatten(1))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    # Pixels as they are stored, from 0 to 16: the first normalisation does the scaling.
    x, held = 5 * (x - x.min()), 5 * (held - held.min())
    model = MixedNet(momentum=0.1 if fixed else 0.0)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    losses = []
    model.train()
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 32, 200, seed):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    model.eval()
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
