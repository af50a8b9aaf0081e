"""Linear regression with predictions (n, 1) and targets (n,): the loss compares every pair."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from benchmarks.real_bugs.material import ended
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "linear-target-shape"
FAMILY = "linear"
TITLE = "MSELoss broadcasts (n, 1) against (n,)"
SOURCE = "github: pytorch/pytorch issue 16045, 'fail to throw error when computing loss between tensors with shapes [n, 1] and [n]'"
TRUTH: Truth = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["0"],
    "onset": 0,
    "symptom": "loss_plateau",
}


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    torch.manual_seed(seed)
    n = 100
    x = torch.randn(n, 2)
    y = 10 + 9 * x[:, 0] - 2 * x[:, 1] + torch.randn(n)
    if fixed:
        y = y.reshape(n, 1)
    model = nn.Sequential(nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss_func = nn.MSELoss()
    losses = []
    with observe(model, optimizer) as watch, warnings.catch_warnings():
        # The version of the report was silent; later ones warn, and are not heeded.
        warnings.filterwarnings("ignore", message="Using a target size")
        for _epoch in range(120):
            optimizer.zero_grad()
            loss_val = loss_func(model(x), y)
            loss_val.backward()
            optimizer.step()
            losses.append(loss_val.item())
            watch.loss(losses[-1])
    with torch.no_grad():
        error = (model(x).reshape(-1) - y.reshape(-1)).pow(2).mean()
    return ended(error, "lower", losses)
