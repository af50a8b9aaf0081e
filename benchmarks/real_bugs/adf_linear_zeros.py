"""A hand-written Linear that lost reset_parameters: its weights start at zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "adf-linear-zeros"
FAMILY = "uncertainty-cnn"
TITLE = "A custom layer whose weights and biases are all zero"
SOURCE = "github: mattiasegu/uncertainty_estimation_deep_learning pull request 7, 'Fix Linear layer parameter initialization'"
TRUTH: Truth = {
    "mechanisms": ["symmetric_initialization", "initialization_too_small"],
    "layers": ["fc1", "fc2"],
    "onset": 0,
    "symptom": "vanishing_gradients",
}
Moments = tuple[Tensor, Tensor]


class ADFLinear(nn.Module):
    """Carries a mean and a variance through a linear map."""

    def __init__(self, in_features: int, out_features: int, reset: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        if reset:
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, moments: Moments) -> Moments:
        mean, variance = moments
        return F.linear(mean, self.weight, self.bias), F.linear(variance, self.weight**2)


class ADFNet(nn.Module):
    def __init__(self, reset: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1, stride=2)
        self.fc1 = ADFLinear(16 * 16, 48, reset)
        self.fc2 = ADFLinear(48, 10, reset)

    def forward(self, x: Tensor) -> Moments:
        h = F.relu(self.conv(x)).flatten(1)
        mean, variance = self.fc1((h, torch.full_like(h, 1e-3)))
        kept = (mean > 0).to(mean.dtype)
        return self.fc2((mean * kept, variance * kept))


def heteroscedastic(moments: Moments, target: Tensor) -> Tensor:
    logits, variance = moments
    return F.cross_entropy(logits / torch.sqrt(1 + variance), target)


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = images()
    net = ADFNet(reset=fixed)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    with observe(net, optimizer) as watch:
        for index in batches(len(y), 64, 200, seed):
            optimizer.zero_grad()
            loss = heteroscedastic(net(x[index]), y[index])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(net(held)[0], target), "higher", losses)
