"""Healthy: PINN (tanh) for -u'' = f trained with L-BFGS and a closure."""

import math, torch
from torch import nn

ID = "healthy-pinn-lbfgs"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class PINN(nn.Module):
    def __init__(self, w=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 1)
        )

    def forward(self, x):
        return self.net(x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = PINN()
    opt = torch.optim.LBFGS(
        model.parameters(), lr=1.0, max_iter=5, history_size=20, line_search_fn="strong_wolfe"
    )
    x = torch.linspace(0, 1, 64)[:, None].requires_grad_(True)
    xb = torch.tensor([[0.0], [1.0]])
    losses = []

    def closure():
        opt.zero_grad()
        u = model(x)
        ux = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        uxx = torch.autograd.grad(ux.sum(), x, create_graph=True)[0]
        loss = ((uxx + math.pi**2 * torch.sin(math.pi * x)) ** 2).mean() + 10 * (
            model(xb) ** 2
        ).mean()
        loss.backward()
        return loss

    with observe(model, opt):
        for it in range(150):
            losses.append(opt.step(closure).item())
    return {"metric": losses[-1], "better": "lower", "first": losses[0]}
