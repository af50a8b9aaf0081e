"""RealNVP-like flow with ActNorm (set from the first batch), bounded log scales and zero-initialised last layers on a thin two-dimensional shape: the loss passes zero and goes on below, the
first gradients of the hidden layers are zero by design. Healthy."""

import math
import torch
from torch import nn

ID = "a_flow_negative_nll"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ActNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x):
        if not self.ready:
            with torch.no_grad():
                self.loc.copy_(-x.mean(0))
                self.log_scale.copy_(-x.std(0).log())
                self.ready.fill_(True)
        return (x + self.loc) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))


class Coupling(nn.Module):
    def __init__(self, flip, hidden=48):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2),
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.flip = flip

    def forward(self, x):
        a, b = (x[:, 1:], x[:, :1]) if self.flip else (x[:, :1], x[:, 1:])
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], 1), s.squeeze(1)


class RealNVP(nn.Module):
    def __init__(self, depth=6):
        super().__init__()
        self.flows = nn.ModuleList()
        for k in range(depth):
            self.flows.append(ActNorm(2))
            self.flows.append(Coupling(k % 2 == 1))

    def log_prob(self, x):
        logdet = 0
        for f in self.flows:
            x, ld = f(x)
            logdet = logdet + ld
        return -0.5 * (x**2).sum(1) - math.log(2 * math.pi) + logdet


def wave(n, gen):
    x = torch.randn(n, generator=gen)
    return torch.stack(
        [0.5 * x, 0.4 * torch.sin(2.2 * x) + 0.02 * torch.randn(n, generator=gen)], 1
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 15)
    x, xt = wave(8000, gen), wave(2000, gen)
    flow = RealNVP()
    opt = torch.optim.AdamW(flow.parameters(), lr=1e-3, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 900)
    curve = []
    with observe(flow, opt):
        for step in range(900):
            loss = -flow.log_prob(x[torch.randint(0, 8000, (200,))]).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = -flow.log_prob(xt).mean().item()
    return {"metric": nll, "better": "lower", "curve": curve}
