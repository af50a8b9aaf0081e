"""Neural ODE classifier (two interleaved spirals, small noise), explicit Euler. The step forgets the factor dt = 1/n_steps: h + f(h) instead of
h + dt * f(h); states and gradients grow with every one of the 40 steps."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_neural_ode_missing_dt"
TRUTH = {
    "mechanisms": ["depth_amplification"],
    "layers": ["flow", "flow.f", "flow.f.lin1", "flow.f.lin2", "lift"],
    "onset": (0, 0),
}


class Field(nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.lin1 = nn.Linear(d + 1, hidden)
        self.lin2 = nn.Linear(hidden, d)

    def forward(self, t, h):
        tt = torch.full_like(h[:, :1], t)
        return self.lin2(F.leaky_relu(self.lin1(torch.cat([h, tt], 1)), 0.1))


class Euler(nn.Module):
    def __init__(self, f, steps, use_dt):
        super().__init__()
        self.f, self.steps, self.use_dt = f, steps, use_dt

    def forward(self, h):
        dt = 1.0 / self.steps if self.use_dt else 1.0
        for k in range(self.steps):
            h = h + dt * self.f(k / self.steps, h)
        return h


class ODENet(nn.Module):
    def __init__(self, d=16, hidden=64, steps=40, use_dt=False):
        super().__init__()
        self.lift = nn.Linear(2, d)
        self.flow = Euler(Field(d, hidden), steps, use_dt)
        self.head = nn.Linear(d, 2)

    def forward(self, x):
        return self.head(self.flow(self.lift(x)))


def spirals(n, g):
    lab = torch.randint(0, 2, (n,), generator=g)
    r = torch.rand(n, generator=g).sqrt()
    th = 1.5 * math.pi * r + math.pi * lab
    x = torch.stack([r * th.cos(), r * th.sin()], 1) * 2
    return x + 0.08 * torch.randn(n, 2, generator=g), lab


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = spirals(2000, g)
    xt, yt = spirals(1000, g)
    model = ODENet(use_dt=fixed)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [400], gamma=0.3)
    curve = []
    with observe(model, opt):
        for step in range(600):
            i = torch.randint(0, len(x), (100,), generator=g)
            loss = F.cross_entropy(model(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
