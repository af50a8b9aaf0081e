"""Healthy but odd: Glow-like flow with zero-initialised couplings; the NLL falls below zero, stalls and spikes are clipped."""

import torch
import torch.nn as nn

ID = "healthy-flow-negative-nll"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
D = 16


def patches(n, g):
    """4x4 patches of smooth shading plus fine grain: strongly correlated, tiny volume."""
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 4), indexing="ij")
    a, b, c = (torch.randn(n, 1, 1, generator=g) for _ in range(3))
    img = 0.5 * c + 0.4 * a * xx + 0.4 * b * yy + 0.3 * torch.sin(3 * a) * xx * yy
    return (img + 0.05 * torch.randn(n, 4, 4, generator=g)).flatten(1)


class ActNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(D))

    @torch.no_grad()
    def data_init(self, x):
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-(x.std(0) + 1e-6).log())

    def forward(self, x):
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum()


class Coupling(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(D // 2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, D)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        return torch.cat([a, (b + t) * s.exp()], 1), s.sum(1)


class Flow(nn.Module):
    def __init__(self, k, g):
        super().__init__()
        self.norms = nn.ModuleList(ActNorm() for _ in range(k))
        self.steps = nn.ModuleList(Coupling() for _ in range(k))
        self.perms = [torch.randperm(D, generator=g) for _ in range(k)]

    def forward(self, x, init=False):
        logdet = 0.0
        for norm, step, perm in zip(self.norms, self.steps, self.perms):
            if init:
                norm.data_init(x)
            x, d1 = norm(x)
            x, d2 = step(x[:, perm])
            logdet = logdet + d1 + d2
        return -0.5 * (x**2 + 1.8379).sum(1) + logdet


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    flow = Flow(8, g)
    with torch.no_grad():
        flow(patches(512, g), init=True)
    opt = torch.optim.Adamax(flow.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 40))
    nlls = []
    with observe(flow, opt):
        for step in range(400):
            loss = -flow(patches(96, g)).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 50.0)
            opt.step()
            sched.step()
            nlls.append(loss.item())
    with torch.no_grad():
        nll = -flow(patches(1000, torch.Generator().manual_seed(5))).mean().item()
    return {"metric": nll, "better": "lower", "curve": nlls}
