"""An image is optimised against a gradient-magnitude loss from a flat start: sqrt at zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_bugs.material import ended, images
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "gmsd-sqrt"
FAMILY = "image-optimisation"
TITLE = "Gradient magnitude similarity of a flat image: sqrt(0) in backward"
SOURCE = "github: photosynthesis-team/piq issue 308, 'GMSD produced NaN gradient'"
TRUTH: Truth = {
    "mechanisms": ["numerical_singularity"],
    "layers": None,
    "onset": (0, 1),
    "symptom": "nonfinite_values",
}
KERNELS = torch.tensor([[[[1.0, 0, -1]] * 3], [[[1.0] * 3, [0.0] * 3, [-1.0] * 3]]])


class Canvas(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.y_hat = nn.Parameter(torch.zeros(count, 1, 8, 8))

    def forward(self) -> Tensor:
        return torch.sigmoid(self.y_hat)


def gradient_map(x: Tensor, eps: float) -> Tensor:
    grads = F.conv2d(x, KERNELS, padding=1)
    return torch.sqrt(torch.sum(grads**2, dim=-3, keepdim=True) + eps) / 3


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    wanted = torch.sigmoid(images()[0][seed * 8 : seed * 8 + 8])
    eps = 1e-8 if fixed else 0.0
    canvas = Canvas(len(wanted))
    optimizer = torch.optim.Adam(canvas.parameters(), lr=0.1)
    losses = []
    with observe(canvas, optimizer) as watch:
        for _ in range(100):
            drawn = canvas()
            a, b = gradient_map(drawn, eps), gradient_map(wanted, eps)
            similarity = (2 * a * b + 0.01) / (a * a + b * b + 0.01)
            loss = (1 - similarity).mean() + F.mse_loss(drawn, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(F.mse_loss(canvas(), wanted), "lower", losses)
