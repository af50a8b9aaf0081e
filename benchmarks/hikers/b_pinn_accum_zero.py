"""Physics-informed net for a damped oscillator, residual by autograd; gradients of several collocation chunks are accumulated. zero_grad is meant for the start of each
accumulation window, but `step % accum == accum` (after renaming the counter) is never true: gradients are never cleared."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_pinn_accum_zero"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x)


class Fan(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.l1, self.l2 = nn.Linear(d, d), nn.Linear(d, d)
        self.act = nn.Tanh()

    def forward(self, x):
        return x + self.l2(self.act(self.l1(x)))


class PINN(nn.Module):
    """initial conditions u(0) = 1, u'(0) = 0 are built in"""

    def __init__(self, d=20):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, d), Sine(), Fan(d), Fan(d), nn.Linear(d, 1))

    def forward(self, t):
        return 1 + t**2 * self.net(t)


class Oscillator(nn.Module):
    def __init__(self, zeta=0.15, w=2.0):
        super().__init__()
        self.z, self.w = zeta, w

    def forward(self, model, t):
        t = t.requires_grad_(True)
        u = model(t)
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        return ((ddu + 2 * self.z * self.w * du + self.w**2 * u) / self.w**2).pow(2).mean()

    def exact(self, t):
        wd = self.w * (1 - self.z**2) ** 0.5
        return torch.exp(-self.z * self.w * t) * (
            torch.cos(wd * t) + self.z * self.w / wd * torch.sin(wd * t)
        )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = PINN()
    phys = Oscillator()
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    steps, accum = 900, 2
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * s / steps)))
    )
    curve = []
    with observe(model, opt):
        run = 0.0
        for micro in range(steps * accum):
            if micro % accum == (0 if fixed else accum):
                opt.zero_grad()
            loss = phys(model, torch.rand(32, 1) * 2.0) / accum
            loss.backward()
            run += loss.item()
            if micro % accum == accum - 1:
                opt.step()
                sched.step()
                curve.append(run)
                run = 0.0
    t = torch.linspace(0, 2.0, 300)[:, None]
    with torch.no_grad():
        err = ((model(t) - phys.exact(t)).norm() / phys.exact(t).norm()).item()
    return {"metric": err, "better": "lower", "curve": curve}
