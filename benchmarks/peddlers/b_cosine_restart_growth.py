"""Own residual ConvNet regresses galaxy-like ellipticity; own SGDR schedule with warm restarts sets param_group['lr'].
Bug: at a restart the peak should be multiplied by `decay`; the code divides by it (0.2), so from the restart at step 300 on the peak
is 5 times, after the next restart (step 450) 25 times the right base rate."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_cosine_restart_growth"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (300, 302)}


class Restarts:
    def __init__(self, optimizer, peak, cycles, decay, fixed):
        self.opt, self.peak, self.cycles, self.decay, self.fixed = (
            optimizer,
            peak,
            cycles,
            decay,
            fixed,
        )
        self.i, self.t = 0, 0

    def step(self):
        if self.t == self.cycles[self.i]:
            self.t, self.i = 0, self.i + 1
            self.peak = self.peak * self.decay if self.fixed else self.peak / self.decay
        lr = 0.5 * self.peak * (1 + math.cos(math.pi * self.t / self.cycles[self.i]))
        for grp in self.opt.param_groups:
            grp["lr"] = lr
        self.t += 1


class Conv(nn.Module):
    def __init__(self, i, o, s=1):
        super().__init__()
        self.w = nn.Parameter(torch.randn(o, i, 3, 3) * math.sqrt(2 / (9 * i)))
        self.b = nn.Parameter(torch.zeros(o))
        self.s = s

    def forward(self, x):
        return F.conv2d(x, self.w, self.b, self.s, 1)


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = Conv(c, c), Conv(c, c)
        self.alpha = nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        return F.relu(x + self.alpha * self.b(F.relu(self.a(x))))


class ShapeNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.stem, self.r1, self.down, self.r2, self.down2 = (
            Conv(1, c, 2),
            ResBlock(c),
            Conv(c, 2 * c, 2),
            ResBlock(2 * c),
            Conv(2 * c, 16, 2),
        )
        self.W = nn.Parameter(torch.randn(2, 16 * 9) / 12)
        self.c = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        x = self.r1(F.relu(self.stem(x)))
        x = self.r2(F.relu(self.down(x)))
        return F.linear(F.relu(self.down2(x)).flatten(1), self.W, self.c)


def galaxies(n, g, S=24):
    e = 0.4 * torch.randn(n, 2, generator=g).clamp(-2, 2)
    yy, xx = torch.meshgrid(
        torch.arange(S).float() - S / 2, torch.arange(S).float() - S / 2, indexing="ij"
    )
    cx, cy = torch.randn(2, n, 1, 1, generator=g)
    x, y = xx - cx, yy - cy
    e1, e2 = e[:, :1, None] * 0.5, e[:, 1:, None] * 0.5
    r2 = (1 - e1) * x * x + (1 + e1) * y * y - 2 * e2 * x * y
    img = torch.exp(-(r2.clamp_min(0) + 1e-3).sqrt() / (2 + torch.rand(n, 1, 1, generator=g)))
    return (img + 0.05 * torch.randn(n, S, S, generator=g))[:, None] * 3, e * 2.5


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 111)
    X, Y = galaxies(3000, g)
    Xt, Yt = galaxies(600, g)
    model = ShapeNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    sched = Restarts(optimizer, 0.02, [300, 150, 150], 0.2, fixed)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            sched.step()
            j = torch.randint(0, 3000, (32,), generator=g)
            loss = (model(X[j]) - Y[j]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(Xt) - Yt).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
