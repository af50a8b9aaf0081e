"""Physics-informed network for the heat equation with ReLU taken from the config; the second
derivative in the residual is zero everywhere, so the equation is never seen."""

import torch
from torch import nn

ID = "pinn-heat-equation"
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["net", "net.1", "net.3", "net.5"],
    "onset": 0,
}

KAPPA = 0.15


class Pinn(nn.Module):
    def __init__(self, width=40, depth=3, activation="ReLU"):
        super().__init__()
        layers, n_in = [], 2
        for _ in range(depth):
            layers += [nn.Linear(n_in, width), getattr(nn, activation)()]
            n_in = width
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))
        for layer in layers[::2]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.uniform_(layer.bias, -0.3, 0.3)

    def forward(self, x, t):
        return self.net(torch.cat([2 * x - 1, 2 * t - 1], dim=1) * 1.5)


def initial(x):
    return torch.sin(torch.pi * x) + 0.5 * torch.sin(2 * torch.pi * x)


def exact(x, t):
    one = torch.sin(torch.pi * x) * torch.exp(-KAPPA * torch.pi**2 * t)
    two = 0.5 * torch.sin(2 * torch.pi * x) * torch.exp(-4 * KAPPA * torch.pi**2 * t)
    return one + two


def derivative(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


def residual(model, x, t):
    x, t = x.requires_grad_(), t.requires_grad_()
    u = model(x, t)
    return derivative(u, t) - KAPPA * derivative(derivative(u, x), x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    config = {"width": 40, "depth": 3, "activation": "Tanh" if fixed else "ReLU"}
    model = Pinn(**config)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=600)
    curve = []
    with observe(model, optimizer):
        for _ in range(600):
            inside = residual(model, torch.rand(400, 1), torch.rand(400, 1)).pow(2).mean()
            x0 = torch.rand(100, 1)
            start = (model(x0, torch.zeros_like(x0)) - initial(x0)).pow(2).mean()
            wall = model(torch.randint(0, 2, (100, 1)).float(), torch.rand(100, 1)).pow(2).mean()
            loss = inside + 10 * start + 10 * wall
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    x, t = torch.rand(3000, 1), torch.rand(3000, 1)
    with torch.no_grad():
        truth = exact(x, t)
        error = (model(x, t) - truth).norm() / truth.norm()
    return {"metric": error.item(), "better": "lower", "curve": curve}
