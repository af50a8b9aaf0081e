"""Healthy, but hard: heteroscedastic forecast of day-ahead returns, where 95 % of the variance is noise by nature. The Gaussian NLL hardly falls after the first
steps; mean and spread are nevertheless learnt. Metric: correlation of the predicted with the true (noise-free) mean plus that of the log-spread, halved."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_h_hetero_returns"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class GLUConv(nn.Module):
    def __init__(self, c, dil):
        super().__init__()
        self.conv = nn.Conv1d(c, 2 * c, 2, dilation=dil)
        self.dil = dil
        self.norm = nn.GroupNorm(1, c)

    def forward(self, x):
        return x + F.glu(self.conv(F.pad(self.norm(x), (self.dil, 0))), 1)


class Forecaster(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.inp = nn.Conv1d(3, c, 1)
        self.tcn = nn.Sequential(*[GLUConv(c, 2**k) for k in range(4)])
        self.heads = nn.ModuleDict({"mean": nn.Linear(c, 1), "log_var": nn.Linear(c, 1)})
        for h in self.heads.values():
            nn.init.zeros_(h.weight)
            nn.init.zeros_(h.bias)

    def forward(self, x):
        f = self.tcn(self.inp(x))[..., -1]
        return self.heads["mean"](f)[:, 0], self.heads["log_var"](f)[:, 0].clamp(-6, 6)


def market(n, g, T=16):
    x = torch.randn(n, 3, T, generator=g)
    m = 0.22 * torch.tanh(x[:, 0, -1] + x[:, 0, -4] - x[:, 1, -2])
    ls = 0.6 * torch.tanh(x[:, 2, -3:].mean(-1) * 2)
    return x, m, ls, m + ls.exp() * torch.randn(n, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 12)
    X, _, _, Y = market(40000, g)
    Xv, Mv, Sv, _ = market(3000, g)
    model = Forecaster()
    opt = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.01)
    steps = 600
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 50) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (128,))
            m, lv = model(X[i])
            loss = 0.5 * (lv + (Y[i] - m) ** 2 / lv.exp()).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m, lv = model(Xv)
        c = lambda a, b: torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return {"metric": (c(m, Mv) + c(lv / 2, Sv)) / 2, "better": "higher", "curve": curve}
