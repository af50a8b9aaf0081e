"""Physics-informed network for a 1-d reaction-diffusion boundary problem, trained with L-BFGS. The closure calls backward() without zero_grad(): each evaluation adds its
gradient to all earlier ones (the other L-BFGS arguments are ordinary)."""

import math
import torch
import torch.nn as nn

ID = "b_pinn_lbfgs_closure"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


class PINN(nn.Module):
    def __init__(self, width=32, depth=3):
        super().__init__()
        dims = [1] + [width] * depth
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in zip(dims[:-1], dims[1:])])
        self.last = nn.Linear(width, 1)
        for lin in [*self.hidden, self.last]:
            nn.init.xavier_normal_(lin.weight)
            nn.init.zeros_(lin.bias)

    def forward(self, x):
        h = x
        for lin in self.hidden:
            h = torch.tanh(lin(h))
        return self.last(h)


def exact(x):
    return torch.sin(math.pi * x) + 0.5 * torch.sin(3 * math.pi * x)


def source(x):
    """f such that -u'' + u = f has the solution `exact`."""
    return (1 + math.pi**2) * torch.sin(math.pi * x) + 0.5 * (1 + 9 * math.pi**2) * torch.sin(
        3 * math.pi * x
    )


def residual(net, x):
    x = x.requires_grad_(True)
    u = net(x)
    du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    d2u = torch.autograd.grad(du.sum(), x, create_graph=True)[0]
    return -d2u + u - source(x)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = PINN()
    x_in = torch.rand(200, 1) * 2 - 1
    x_bc = torch.tensor([[-1.0], [1.0]])
    opt = torch.optim.LBFGS(net.parameters(), lr=0.3, max_iter=2, history_size=10)
    curve = []

    def closure():
        if fixed:
            opt.zero_grad()
        pde = residual(net, x_in.clone()).pow(2).mean() / 100
        bc = net(x_bc).pow(2).mean()
        loss = pde + 10 * bc
        loss.backward()
        return loss

    with observe(net, opt):
        for step in range(500):
            loss = opt.step(closure)
            curve.append(loss.item())
    with torch.no_grad():
        x = torch.linspace(-1, 1, 400)[:, None]
        rel = ((net(x) - exact(x)).norm() / exact(x).norm()).item()
    return {"metric": rel, "better": "lower", "curve": curve}
