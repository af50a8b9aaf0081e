"""A super-resolution network whose scheduler, sized in epochs, is stepped after every batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from benchmarks.real_bugs.material import batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "superres-scheduler-every-batch"
FAMILY = "super-resolution"
TITLE = "StepLR(step_size=epochs // 2) stepped per batch"
SOURCE = "github: leftthomas/SRGAN issue 94, 'Learning rate scheduler is working incorrect'"
EPOCHS = 12
TRUTH: Truth = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": (EPOCHS // 2 - 1, 3 * EPOCHS),
    "symptom": "loss_plateau",
}


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.PReLU())
        self.res1 = nn.Conv2d(16, 16, 3, padding=1)
        self.res2 = nn.Conv2d(16, 16, 3, padding=1)
        self.up = nn.Sequential(nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, low: Tensor) -> Tensor:
        h = self.block1(low)
        h = h + F.relu(self.res1(h))
        return self.up(h + F.relu(self.res2(h)))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    high, _, held, _ = images()
    net = Generator()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    scheduler = StepLR(optimizer, step_size=EPOCHS // 2, gamma=0.1)
    losses = []
    with observe(net, optimizer) as watch:
        for epoch in range(EPOCHS):
            for index in batches(len(high), 64, 22, 100 * seed + epoch):
                target = high[index]
                loss = F.mse_loss(net(F.avg_pool2d(target, 2)), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
                losses.append(loss.item())
                watch.loss(loss.item())
            if fixed:
                scheduler.step()
    with torch.no_grad():
        return ended(F.mse_loss(net(F.avg_pool2d(held, 2)), held), "lower", losses)
