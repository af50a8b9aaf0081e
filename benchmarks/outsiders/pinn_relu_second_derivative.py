"""PINN for -u'' = f on [0,1] with a ReLU network: the second derivative is zero everywhere."""

import math, torch
from torch import nn

ID = "pinn-relu-second-derivative"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class PINN(nn.Module):
    def __init__(self, act, width=40):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width),
            act(),
            nn.Linear(width, width),
            act(),
            nn.Linear(width, width),
            act(),
            nn.Linear(width, 1),
        )

    def forward(self, x):
        return self.net(x)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    model = PINN(nn.Tanh if fixed else nn.ReLU)
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    sched = torch.optim.lr_scheduler.StepLR(opt, 150, 0.5)
    xb = torch.tensor([[0.0], [1.0]])
    ub = torch.zeros(2, 1)
    losses = []
    with observe(model, opt):
        for it in range(450):
            x = torch.rand(128, 1, requires_grad=True)
            u = model(x)
            ux = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]
            uxx = torch.autograd.grad(ux, x, torch.ones_like(ux), create_graph=True)[0]
            f = math.pi**2 * torch.sin(math.pi * x)
            loss_f = ((uxx + f) ** 2).mean()
            loss_b = ((model(xb) - ub) ** 2).mean()
            loss = loss_f + 10 * loss_b
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            losses.append(loss.item())
    return {"metric": sum(losses[-20:]) / 20, "better": "lower"}
