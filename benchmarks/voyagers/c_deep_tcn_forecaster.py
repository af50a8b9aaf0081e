"""A 44-block dilated convolution forecaster with zero-initialised residual branches; every block
multiplies the sum (not the branch) by 1/sqrt(2), so the signal dies on its way through the depth."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "deep-tcn-forecaster"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["blocks"] + [f"blocks.{i}" for i in range(44)],
    "onset": 0,
}

HISTORY, HORIZON, WIDTH, DEPTH = 32, 8, 16, 44
RES_SCALE = 1 / math.sqrt(2)


class Block(nn.Module):
    def __init__(self, width, dilation, scale_branch):
        super().__init__()
        self.scale_branch = scale_branch
        self.conv_in = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv_out = nn.Conv1d(width, width, 1)
        nn.init.kaiming_normal_(self.conv_in.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, x):
        y = self.conv_out(F.relu(self.conv_in(x)))
        if self.scale_branch:
            return x + RES_SCALE * y
        return RES_SCALE * (x + y)


class Forecaster(nn.Module):
    def __init__(self, scale_branch):
        super().__init__()
        self.stem = nn.Conv1d(1, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(
            *[Block(WIDTH, 2 ** (i % 4), scale_branch) for i in range(DEPTH)]
        )
        self.head = nn.Linear(WIDTH * HISTORY, HORIZON)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).flatten(1))


def make_windows(n, g):
    t = torch.arange(HISTORY + HORIZON).float()
    period = 8 + 16 * torch.rand(n, 2, 1, generator=g)
    phase = 2 * math.pi * torch.rand(n, 2, 1, generator=g)
    amp = 0.5 + torch.rand(n, 2, 1, generator=g)
    wave = (amp * torch.sin(2 * math.pi * t / period + phase)).sum(1)
    wave = wave + 0.05 * torch.randn(wave.shape, generator=g)
    return wave[:, None, :HISTORY], wave[:, HISTORY:]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = make_windows(4000, g)
    x_test, y_test = make_windows(500, g)
    model = Forecaster(scale_branch=fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=30)
    curve = []
    with observe(model, optimizer):
        for _ in range(280):
            idx = torch.randint(len(x), (16,), generator=g)
            loss = F.mse_loss(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warmup.step()
            curve.append(loss.item())
    with torch.no_grad():
        error = F.mse_loss(model(x_test), y_test) / y_test.var()
    return {"metric": error.item(), "better": "lower", "curve": curve}
