"""Mixed precision with a gradient scaler, clipping while the gradients are still scaled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "amp-clip-before-unscale"
FAMILY = "residual-cnn"
TITLE = "clip_grad_norm_ before scaler.unscale_: a very flat learning curve"
SOURCE = "github: Lightning-AI/pytorch-lightning issue 9599, 'Clip norm after scaler.unscale_ in native fp16 training'"
TRUTH: Truth = {
    "mechanisms": ["excessive_gradient_clipping"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(self.norm(x))))


def build() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), Residual(16), nn.MaxPool2d(2), Residual(16),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    losses = []
    with observe(model, optimizer) as watch:
        for index in batches(len(y), 64, 160, seed):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x[index]), y[index])
            scaler.scale(loss).backward()
            if fixed:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(model(held), target), "higher", losses)
