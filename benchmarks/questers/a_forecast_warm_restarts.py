"""Hourly load forecaster (dilated causal convolutions, normalised by window) with warm restarts of the learning rate: the loss jumps up at each restart and comes down again. Healthy."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_forecast_warm_restarts"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
PAST, FUTURE = 72, 24


class CausalConv(nn.Module):
    def __init__(self, c, dilation):
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv1d(c, c, 3, dilation=dilation)
        self.norm = nn.GroupNorm(1, c)

    def forward(self, x):
        return x + F.gelu(self.norm(self.conv(F.pad(x, (self.pad, 0)))))


class TCN(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.stem = nn.Conv1d(1, c, 1)
        self.blocks = nn.Sequential(*[CausalConv(c, 2**k) for k in range(5)])
        self.head = nn.Linear(c, FUTURE)

    def forward(self, x):
        mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True) + 1e-3
        h = self.blocks(self.stem(((x - mean) / std)[:, None]))
        return self.head(h[:, :, -1]) * std + mean


def load_curve(n, gen):
    t = torch.arange(n).float()
    day, week = torch.sin(6.283 * t / 24), torch.sin(6.283 * t / 168)
    ar = torch.zeros(n)
    e = 0.12 * torch.randn(n, generator=gen)
    for i in range(1, n):
        ar[i] = 0.9 * ar[i - 1] + e[i]
    return 3 + (1 + 0.4 * week) * day + 0.4 * torch.sin(12.566 * t / 24) + 0.5 * week + ar


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 45)
    win = load_curve(6000, gen).unfold(0, PAST + FUTURE, 1)
    tr, te = win[:4500], win[4700:]
    model = TCN()
    opt = torch.optim.SGD(
        model.parameters(), lr=0.06, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        opt, T_0=150, T_mult=1, eta_min=1e-4
    )
    curve = []
    with observe(model, opt):
        for step in range(600):
            w = tr[torch.randint(0, len(tr), (48,))]
            loss = F.smooth_l1_loss(model(w[:, :PAST]), w[:, PAST:])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(model(te[:, :PAST]), te[:, PAST:]).item() / te[:, PAST:].var().item()
    return {"metric": mse, "better": "lower", "curve": curve}
