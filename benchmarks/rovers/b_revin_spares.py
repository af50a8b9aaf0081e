"""A reversible-instance-normalisation forecaster (RevIN + token mixing) predicts intermittent demand for spare parts. Each
window is standardised by its own statistics, and the loss is taken in that normalised space; but most windows of a spare part are
constant zero, so they are divided by the `eps` of 1e-5 and the next order becomes a target of several hundred thousand. RevIN was
written for electricity and traffic, where no window is ever constant."""

import torch
from torch import nn

ID = "b_revin_spares"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["revin"], "onset": 0}
PAST, NEXT = 24, 6


class RevIN(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.floor = floor
        self.gain = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        self.mean = x.mean(-1, keepdim=True)
        self.std = (x.var(-1, keepdim=True, unbiased=False) + self.floor**2).sqrt()
        return (x - self.mean) / self.std * self.gain + self.shift

    def encode(self, y):
        return (y - self.mean) / self.std

    def decode(self, z):
        return z * self.std + self.mean


class Forecaster(nn.Module):
    def __init__(self, floor, width=48):
        super().__init__()
        self.revin = RevIN(floor)
        self.season = nn.Linear(2, width)
        self.time = nn.Linear(PAST, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, NEXT)

    def forward(self, past, phase):
        h = self.time(self.revin(past)) + self.season(phase)
        h = h + self.mix(h)
        return self.out(h)


def demand(n_parts, length, gen):
    """Lumpy: every part is ordered in its own season, otherwise nothing at all."""
    t = torch.arange(length)
    start = torch.randint(0, 48, (n_parts, 1), generator=gen)
    dur = torch.randint(8, 16, (n_parts, 1), generator=gen)
    size = 2.0 + 6 * torch.rand(n_parts, 1, generator=gen)
    pos = (t - start) % 48
    on = pos < dur
    bump = torch.sin(3.1416 * (pos + 0.5) / dur).clamp_min(0)
    noise = 0.3 * torch.randn(n_parts, length, generator=gen)
    return torch.where(on, (size * bump + noise).clamp_min(0), torch.zeros(()))


def windows(series, n, gen):
    p = torch.randint(0, series.shape[0], (n,), generator=gen)
    s = torch.randint(0, series.shape[1] - PAST - NEXT, (n,), generator=gen)
    idx = s[:, None] + torch.arange(PAST + NEXT)
    w = series[p[:, None], idx]
    ang = 2 * 3.14159 * (s % 48).float() / 48
    return w[:, :PAST], torch.stack([ang.sin(), ang.cos()], -1), w[:, PAST:]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 31)
    train_parts, test_parts = demand(300, 240, gen), demand(80, 240, gen)
    model = Forecaster(floor=1.0 if fixed else 1e-5)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98))
    curve = []
    with observe(model, opt):
        for _ in range(900):
            past, phase, nxt = windows(train_parts, 96, gen)
            z = model(past, phase)
            loss = (z - model.revin.encode(nxt)).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        past, phase, nxt = windows(test_parts, 2000, gen)
        z = model(past, phase)
        pred = model.revin.decode(z)
        metric = ((pred - nxt).abs().mean() / nxt.abs().mean()).item()
    return {"metric": metric, "better": "lower", "curve": curve}
