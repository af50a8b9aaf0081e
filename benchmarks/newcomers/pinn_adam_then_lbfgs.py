"""PINN of a damped oscillator, 160 Adam steps and then L-BFGS: its closure has no zero_grad, so every evaluation adds to the last."""

import torch, torch.nn as nn
from torch.autograd import grad

ID = "pinn-adam-then-lbfgs-no-zero-grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": [], "onset": (160, 162)}
DELTA, OMEGA = 1.5, 8.0


def exact(t):
    w = (OMEGA**2 - DELTA**2) ** 0.5
    return torch.exp(-DELTA * t) * (torch.cos(w * t) + DELTA / w * torch.sin(w * t))


class FCN(nn.Module):
    def __init__(self, width=32, depth=3):
        super().__init__()
        layers, n = [], 1
        for _ in range(depth):
            layers += [nn.Linear(n, width), nn.Tanh()]
            n = width
        self.net = nn.Sequential(*layers, nn.Linear(n, 1))
        for m in self.net:
            if isinstance(m, nn.Linear):
                nn.init.xavier_normal_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, t):
        return self.net(4 * t - 2)


def physics_loss(model, t, t0):
    u = model(t)
    du = grad(u, t, torch.ones_like(u), create_graph=True)[0]
    d2u = grad(du, t, torch.ones_like(u), create_graph=True)[0]
    residual = (d2u + 2 * DELTA * du + OMEGA**2 * u) / OMEGA**2
    u0 = model(t0)
    du0 = grad(u0, t0, torch.ones_like(u0), create_graph=True)[0]
    return residual.pow(2).mean() + (u0 - 1).pow(2).mean() + (du0 / OMEGA).pow(2).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = FCN()
    t = torch.linspace(0, 1, 60).view(-1, 1).requires_grad_(True)
    t0 = torch.zeros(1, 1, requires_grad=True)
    losses = []

    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    with observe(model, adam):
        for _ in range(160):
            adam.zero_grad()
            loss = physics_loss(model, t, t0)
            loss.backward()
            adam.step()
            losses.append(loss.item())

        # second stage, as in the papers
        lbfgs = torch.optim.LBFGS(
            model.parameters(),
            max_iter=5,
            history_size=20,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure():
            if fixed:
                lbfgs.zero_grad()
            loss = physics_loss(model, t, t0)
            loss.backward()
            return loss

        for _ in range(80):
            losses.append(lbfgs.step(closure).item())

    with torch.no_grad():
        s = torch.linspace(0, 1, 200).view(-1, 1)
        err = (model(s) - exact(s)).norm() / exact(s).norm()
        err = torch.nan_to_num(err, nan=1.0)
    return {"metric": err.item(), "better": "lower", "curve": losses}
