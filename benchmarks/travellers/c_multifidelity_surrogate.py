"""Multi-fidelity surrogate: fine-tuning on a mean loss restores the Adam state of a summed loss."""

import torch
from torch import nn

ID = "c-multifidelity-surrogate"
TRUTH = {"mechanisms": ["stale_second_moment"], "layers": None, "onset": 0}


def solver(x, fine):
    """Lift, drag and moment of a wing section; the coarse solver knows no stall."""
    alpha, mach, camber, thick = x.T
    lift = 1.1 * alpha + 0.5 * camber
    drag = 0.3 * alpha**2 + 0.4 * thick
    moment = -0.5 * camber + 0.2 * alpha * mach
    if fine:
        stall = torch.sigmoid(4 * (alpha - 0.6 + 0.3 * mach))
        lift = lift * (1 - 0.9 * stall) + 0.5 * torch.sin(3 * thick * alpha)
        drag = drag + stall * (1 + mach) + 0.4 * torch.relu(mach * thick) ** 2
        moment = moment - stall + 0.5 * torch.cos(2 * mach + camber)
    return torch.stack([lift, drag, moment], 1)


class Residual(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))

    def forward(self, x):
        return x + self.net(x)


class Surrogate(nn.Module):
    def __init__(self, d=96):
        super().__init__()
        self.inlet = nn.Linear(4, d)
        self.body = nn.Sequential(*(Residual(d) for _ in range(3)))
        self.outlet = nn.Linear(d, 3)

    def forward(self, x):
        return self.outlet(self.body(self.inlet(x)))


def make_optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)


def pretrain(steps=120):
    model = Surrogate()
    opt = make_optimizer(model)
    for _ in range(steps):
        x = torch.randn(512, 4)
        loss = nn.functional.mse_loss(model(x), solver(x, fine=False), reduction="sum")
        opt.zero_grad()
        loss.backward()
        opt.step()
    return {"model": model.state_dict(), "optim": opt.state_dict()}


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    ckpt = pretrain()
    x = torch.randn(6500, 4)
    y = solver(x, fine=True)
    model = Surrogate()
    opt = make_optimizer(model)
    model.load_state_dict(ckpt["model"])
    if not fixed:
        opt.load_state_dict(ckpt["optim"])
    curve = []
    with observe(model, opt):
        for _ in range(11):
            for idx in torch.randperm(6000).split(128):
                loss = nn.functional.mse_loss(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        rmse = (model(x[6000:]) - y[6000:]).pow(2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
