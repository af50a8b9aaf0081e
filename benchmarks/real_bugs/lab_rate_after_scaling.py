"""A course exercise: the rate chosen for raw features is kept after they were standardised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import batches, ended
from neuraldbg.demos.case import Observe, Outcome, Truth
from neuraldbg.demos.data import diabetes

ID = "lab-rate-after-scaling"
FAMILY = "linear"
TITLE = "After normalisation the loss no longer falls: the learning rate is too small"
SOURCE = "github: Smadx/USTC-ML24-Fall issue 47, '[lab1] loss does not fall in the first part after normalisation'"
TRUTH: Truth = {
    "mechanisms": ["learning_rate_too_low"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_plateau",
}


class Regression(nn.Module):
    """Ridge regression on features and their squares."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(2 * features, 1) * 0.5)
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x * x - 1], 1) @ self.w + self.b


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y = diabetes()
    model = Regression(x.shape[1])
    lr = 1e-2 if fixed else 1e-6
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    with observe(model, optimizer) as watch:
        for index in batches(342, 32, 400, seed):
            loss = F.mse_loss(model(x[index]), y[index]) + 1e-3 * model.w.pow(2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(F.mse_loss(model(x[342:]), y[342:]), "lower", losses)
