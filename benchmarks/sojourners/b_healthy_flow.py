"""Healthy: RealNVP on a banana-shaped posterior, last layers of the couplings zero on purpose, a frozen random permutation,
temperature stages (beta 0.25 -> 1 raises the loss by design), and a negative loss at the end."""

import math, torch
import torch.nn as nn

ID = "b_healthy_flow"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Coupling(nn.Module):
    def __init__(self, d, h=48):
        super().__init__()
        self.register_buffer("perm", torch.randperm(d))
        self.k = d // 2
        self.net = nn.Sequential(
            nn.Linear(self.k, h),
            nn.ReLU(),
            nn.Linear(h, h),
            nn.ReLU(),
            nn.Linear(h, 2 * (d - self.k)),
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        x = x[:, self.perm]
        a, b = x[:, : self.k], x[:, self.k :]
        s, t = self.net(a).chunk(2, -1)
        s = 1.5 * torch.tanh(s)
        return torch.cat([a, b * s.exp() + t], 1), s.sum(-1)


class RealNVP(nn.Module):
    def __init__(self, d=4, n=6):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(d) for _ in range(n))

    def forward(self, z):
        ld = 0.0
        for l in self.layers:
            z, s = l(z)
            ld = ld + s
        return z, ld


A = torch.eye(4) + 0.4 * torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1.0], [1, 0, 0, 0], [0, 0, 1, 0]])


def log_target(x):
    y = x @ A
    return -0.5 * (
        y[:, 0] ** 2 / 4
        + (y[:, 1] - 0.3 * y[:, 0] ** 2) ** 2 / 0.1
        + (y[:, 2] - 3) ** 2 / 0.2
        + y[:, 3] ** 2 / 0.5
    )


LOGZ = (
    0.5 * (4 * math.log(2 * math.pi) + math.log(4 * 0.1 * 0.2 * 0.5))
    - torch.linalg.slogdet(A)[1].item()
)


def kl(model, n, beta=1.0):
    z = torch.randn(n, 4)
    x, ld = model(z)
    logq = -0.5 * z.pow(2).sum(-1) - 2 * math.log(2 * math.pi) - ld
    return (logq - beta * log_target(x)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = RealNVP()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [1000, 1300], 0.3)
    curve = []
    with observe(model, opt):
        for step in range(1500):
            beta = (0.25, 0.5, 1.0)[min(2, step // 250)]
            loss = kl(model, 256, beta)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 20.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = (kl(model, 20000) + LOGZ).item()  # true KL, 0 is perfect
    return {"metric": m, "better": "lower", "curve": curve}
