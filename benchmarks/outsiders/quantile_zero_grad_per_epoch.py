"""Quantile regression with the pinball loss; zero_grad once per epoch."""

import torch
from torch import nn

ID = "quantile-zero-grad-per-epoch"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 3)}


class QuantileNet(nn.Module):
    def __init__(self, d, qs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, len(qs))
        )
        self.register_buffer("qs", torch.tensor(qs))

    def forward(self, x):
        return self.net(x)

    def loss(self, x, y):
        e = y[:, None] - self(x)
        return torch.maximum(self.qs * e, (self.qs - 1) * e).mean()


def make(seed, n=3200):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=g)
    y = (
        2 * torch.sin(x[:, 0])
        + x[:, 1]
        + x[:, 2] * x[:, 3]
        + (0.2 + 0.4 * torch.sigmoid(2 * x[:, 4])) * torch.randn(n, generator=g)
    )
    return (x, (y - y.mean()) / y.std())


def train(observe, seed=0, fixed=False):
    x, y = make(seed)
    torch.manual_seed(seed)
    model = QuantileNet(5, [0.1, 0.5, 0.9])
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    with observe(model, opt):
        for epoch in range(10):
            opt.zero_grad()
            perm = torch.randperm(len(y))
            for s in range(0, len(y), 64):
                j = perm[s : s + 64]
                if fixed:
                    opt.zero_grad()
                loss = model.loss(x[j], y[j])
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-50:]) / 50, "better": "lower"}
