"""Healthy: a wake-effect regressor for wind farms is trained by cyclical learning rates with abrupt restarts (snapshot ensembles, then
stochastic weight averaging of the ends). At each restart the rate jumps a thousandfold and the loss with it, the momentum buffers are
wiped, and the log-likelihood loss is negative most of the time; the average of the snapshots is very good."""

import copy
import math
import torch
from torch import nn

ID = "b_snapshot_restarts"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
TURBINES, CYCLE, CYCLES = 6, 150, 5


class WakeNet(nn.Module):
    """Pairwise messages between turbines in the wind's frame, hand-written with einsum; two outputs per turbine (mean, log-sigma)."""

    def __init__(self, width=24):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(3, width) * 0.6)
        self.b1 = nn.Parameter(torch.zeros(width))
        self.w2 = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.b2 = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 2)

    def forward(self, xy):
        d = xy.unsqueeze(2) - xy.unsqueeze(1)
        f = torch.cat([d, d[..., 1:].abs()], -1)
        m = torch.nn.functional.silu(torch.einsum("bijk,kh->bijh", f, self.w1) + self.b1)
        m = torch.nn.functional.silu(torch.einsum("bijh,hg->bijg", m, self.w2) + self.b2)
        return self.out(self.norm(m.sum(2))).unbind(-1)


def farms(n, gen):
    xy = 2 * torch.rand(n, TURBINES, 2, generator=gen) - 1
    d = xy.unsqueeze(2) - xy.unsqueeze(1)
    down, side = d[..., 0], d[..., 1]
    deficit = torch.where(
        down > 0.02,
        torch.exp(-((side / (0.25 + 0.2 * down.clamp_min(0))) ** 2)) / (1 + down.clamp_min(0)) ** 2,
        torch.zeros(()),
    )
    power = torch.exp(-0.9 * deficit.sum(2))
    power = power + 0.03 * torch.randn(power.shape, generator=gen)
    return xy * 1.7, (power - 0.6) / 0.27


def nll(model, xy, y):
    mu, ls = model(xy)
    ls = ls.clamp(-4, 2)
    return (0.5 * ((y - mu) / ls.exp()) ** 2 + ls).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 300)
    x, y = farms(3000, gen)
    xt, yt = farms(800, gen)
    model = WakeNet()
    opt = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9)
    snaps, curve = [], []
    with observe(model, opt):
        for step in range(CYCLE * CYCLES):
            u = step % CYCLE / CYCLE
            if u == 0:
                opt.state.clear()
            for g in opt.param_groups:
                g["lr"] = 0.08 * max(1e-3, 0.5 * (1 + math.cos(math.pi * u)))
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = nll(model, x[i], y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            opt.step()
            curve.append(loss.item())
            if step % CYCLE == CYCLE - 1 and step > CYCLE:
                snaps.append(copy.deepcopy(model.state_dict()))
    pred = torch.zeros_like(yt)
    with torch.no_grad():
        for s in snaps:
            model.load_state_dict(s)
            pred += model(xt)[0] / len(snaps)
    return {
        "metric": (1 - (pred - yt).pow(2).mean() / yt.var()).item(),
        "better": "higher",
        "curve": curve,
    }
