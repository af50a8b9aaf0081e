"""Softmax regression from scratch: the loss is summed over the batch, and the update forgets to divide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.real_bugs.material import accuracy, batches, ended, split_digits
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "summed-loss-scratch"
FAMILY = "mlp"
TITLE = "Loss summed over 256 rows with the learning rate of a mean"
SOURCE = "github: ShusenTang/Dive-into-DL-PyTorch issue 75, on dividing by batch_size in the hand-written sgd"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch", "learning_rate_too_high"],
    "layers": None,
    "onset": 0,
    "symptom": "loss_divergence",
}


class Scratch(nn.Module):
    """Two layers whose parameters are bare tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(64, 128) * (2 / 64) ** 0.5)
        self.b1 = nn.Parameter(torch.zeros(128))
        self.w2 = nn.Parameter(torch.randn(128, 10) * 0.05)
        self.b2 = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        h = (x @ self.w1 + self.b1).clamp(min=0)
        return h @ self.w2 + self.b2


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    log_p = scores - scores.logsumexp(dim=1, keepdim=True)
    return -log_p.gather(1, y.view(-1, 1))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    x, y, held, target = split_digits()
    net = Scratch()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    history = []
    with observe(net, sgd) as watch:
        for index in batches(len(y), 256, 200, seed):
            rows = cross_entropy(net(x[index]), y[index])
            loss = rows.mean() if fixed else rows.sum()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            history.append(loss.item())
            watch.loss(loss.item())
    with torch.no_grad():
        return ended(accuracy(net(held), target), "higher", history)
