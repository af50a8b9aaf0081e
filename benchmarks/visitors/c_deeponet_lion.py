"""DeepONet for the antiderivative operator with a hand-written Lion; its decoupled decay forgets the
learning rate, so the weights lose one percent at each step."""

from itertools import pairwise

import torch
from torch import nn

ID = "deeponet-lion"
TRUTH = {"mechanisms": ["excessive_weight_decay"], "layers": None, "onset": 0}


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.0, scaled_decay=True):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self.scaled_decay = scaled_decay

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            lr, (b1, b2), wd = group["lr"], group["betas"], group["weight_decay"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                m = state["exp_avg"]
                p.mul_(1 - (lr * wd if self.scaled_decay else wd))
                p.add_(torch.lerp(p.grad, m, b1).sign_(), alpha=-lr)
                m.lerp_(p.grad, 1 - b2)


def mlp(*sizes):
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class DeepONet(nn.Module):
    def __init__(self, sensors=40, width=96, basis=48):
        super().__init__()
        self.branch = mlp(sensors, width, width, basis)
        self.trunk = mlp(1, width, width, basis)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, u, y):
        return torch.einsum("bp,qp->bq", self.branch(u), self.trunk(y)) / 7.0 + self.bias


def make_functions(n, g, sensors=40, modes=5):
    """Random Fourier series and their exact integrals from zero."""
    x = torch.linspace(0, 1, sensors)
    k = torch.arange(1, modes + 1) * torch.pi
    a = torch.randn(n, modes, generator=g) / torch.arange(1, modes + 1) ** 0.5
    u = a @ torch.cos(k[:, None] * x)
    s = a @ (torch.sin(k[:, None] * x) / k[:, None])
    return u, s / 0.25, (2 * x - 1)[:, None]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    u, s, y = make_functions(2200, torch.Generator().manual_seed(seed + 5))
    model = DeepONet()
    optimizer = Lion(model.parameters(), lr=3e-4, weight_decay=0.01, scaled_decay=fixed)
    steps, curve = 600, []
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: max(0.03, 1 - i / steps))
    with observe(model, optimizer):
        for _ in range(steps):
            idx = torch.randint(0, 2000, (128,))
            loss = nn.functional.mse_loss(model(u[idx], y), s[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        error = (model(u[2000:], y) - s[2000:]).norm() / s[2000:].norm()
    return {"metric": error.item(), "better": "lower", "curve": curve}
