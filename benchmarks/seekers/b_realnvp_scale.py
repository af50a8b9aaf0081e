"""RealNVP density model on a 6-d table. The last layer of every coupling network is meant to start at zero (identity flow);
here nn.init.normal_ is called with its default std of 1.0, so that s saturates
and exp(s) multiplies up over the couplings. Metric: nats above the true entropy."""

import math
import torch
import torch.nn as nn

ID = "b_realnvp_scale"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["couplings.%d.%s" % (i, n) for i in range(8) for n in ("net.4", "net")]
    + ["couplings"],
    "onset": (0, 0),
}
D = 6


class Coupling(nn.Module):
    def __init__(self, mask, hidden, std):
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = nn.Sequential(
            nn.Linear(D, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * D),
        )
        if std:
            nn.init.normal_(self.net[4].weight, 0.0, std)
        else:
            nn.init.zeros_(self.net[4].weight)
        nn.init.zeros_(self.net[4].bias)

    def forward(self, x):
        s, t = self.net(x * self.mask).chunk(2, -1)
        s = 2 * torch.tanh(s / 2)
        s, t = s * (1 - self.mask), t * (1 - self.mask)
        return x * torch.exp(s) + t, s.sum(-1)


class RealNVP(nn.Module):
    def __init__(self, n=8, hidden=64, std=0.0):
        super().__init__()
        base = (torch.arange(D) % 2).float()
        self.couplings = nn.ModuleList(
            Coupling(base if i % 2 else 1 - base, hidden, std) for i in range(n)
        )

    def log_prob(self, x):
        logdet = 0.0
        for c in self.couplings:
            x, ld = c(x)
            logdet = logdet + ld
        return -0.5 * (x**2).sum(-1) - 0.5 * D * math.log(2 * math.pi) + logdet


def table(n, g):
    u = torch.randn(n, 3, generator=g)
    e = torch.randn(n, 3, generator=g) * 0.15
    x = torch.stack(
        [
            u[:, 0],
            u[:, 0] ** 2 * 0.6 + e[:, 0],
            u[:, 1],
            torch.sin(2 * u[:, 1]) + e[:, 1],
            u[:, 2],
            u[:, 0] * u[:, 2] + e[:, 2],
        ],
        -1,
    )
    return x


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(31 + seed)
    data, held = table(6000, g), table(1500, g)
    mean, std = data.mean(0), data.std(0)
    data, held = (data - mean) / std, (held - mean) / std
    gauss = 0.5 * math.log(2 * math.pi * math.e)
    entropy = 6 * gauss + 3 * math.log(0.15) - std.log().sum().item()
    model = RealNVP(std=0.0 if fixed else 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=7e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=400)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            idx = torch.randint(0, len(data), (256,), generator=g)
            loss = -model.log_prob(data[idx]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        nll = -model.log_prob(held).mean().item()
    return {"metric": nll - entropy, "better": "lower", "curve": curve}
