"""Hypernetwork that writes the weights of a small regressor from a task code (a family of dose-response curves).
Bug: the own `clear_grads` walks over `params = model.parameters()`, a generator that is exhausted after the first call: from the
second step on nothing is cleared and gradients pile up for ever."""

import math
import torch
import torch.nn as nn

ID = "b_hypernet_generator_zero"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 2)}


class Hyper(nn.Module):
    def __init__(self, code, width=16):
        super().__init__()
        self.width = width
        n = 3 * width + 1
        self.A, self.a = (
            nn.Parameter(torch.randn(code, 64) / math.sqrt(code)),
            nn.Parameter(torch.zeros(64)),
        )
        self.B = nn.Parameter(torch.randn(64, n) * 0.05)
        base = torch.cat(
            [2 * torch.randn(width), 2 * torch.randn(width), torch.randn(width) / 4, torch.zeros(1)]
        )
        self.base = nn.Parameter(base)

    def forward(self, c):
        h = torch.tanh(c @ self.A + self.a)
        w = h @ self.B + self.base
        k = self.width
        return w[:, :k], w[:, k : 2 * k], w[:, 2 * k : 3 * k], w[:, 3 * k :]


class DoseNet(nn.Module):
    def __init__(self, code=5):
        super().__init__()
        self.hyper = Hyper(code)

    def forward(self, c, x):  # c: B, code ; x: B, P doses
        w1, b1, w2, b2 = self.hyper(c)
        h = torch.tanh(torch.einsum("bp,bk->bpk", x, w1) + b1[:, None])
        return torch.einsum("bpk,bk->bp", h, w2) + b2


def curves(n, g, P=16):
    c = torch.randn(n, 5, generator=g)
    ec50 = 0.8 * torch.tanh(c[:, :1] + 0.5 * c[:, 1:2])
    slope = 2 + torch.exp(0.5 * c[:, 2:3])
    top, bottom = 1 + 0.5 * torch.tanh(c[:, 3:4]), -0.5 * torch.sigmoid(c[:, 4:])
    x = 3 * torch.rand(n, P, generator=g) - 1.5
    y = bottom + (top - bottom) * torch.sigmoid(slope * (x - ec50))
    return c, x, y + 0.03 * torch.randn(n, P, generator=g)


def clear_grads(params):
    for p in params:
        p.grad = None


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 241)
    model = DoseNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    test = curves(1000, g)
    params = model.parameters()
    if fixed:
        params = list(params)
    curve = []
    with observe(model, optimizer):
        for step in range(2000):
            c, x, y = curves(96, g)
            clear_grads(params)
            loss = (model(c, x) - y).square().mean()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(*test[:2]) - test[2]).square().mean().item() / test[2].var().item()
    return {"metric": mse, "better": "lower", "curve": curve}
