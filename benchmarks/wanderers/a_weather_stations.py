"""An MLP-mixer forecasts the next temperatures of eight weather stations, reading the archive once in order of time.
The archive marks missing readings by -9999 and the loader scales them like any other number, so a short outage gives two batches of
values a thousand deviations away. People check for NaN and never meet the sentinel, because it occurs in a single day of a long archive."""

import math
import torch
from torch import nn

ID = "a_weather_stations"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (40, 41)}

STATIONS, WINDOW, BATCH, STEPS = 8, 24, 32, 450


def archive(hours, g):
    t = torch.arange(hours).float()
    day = torch.sin(2 * math.pi * t / 24)
    front = torch.zeros(hours)
    shock = torch.randn(hours, generator=g)
    for i in range(1, hours):
        front[i] = 0.97 * front[i - 1] + 0.25 * shock[i]
    lag = torch.arange(STATIONS) * 2
    columns = []
    for s in range(STATIONS):
        moved = torch.roll(front, int(lag[s]))
        columns.append(
            12 + s + (3 + 0.5 * s) * day + 5 * moved + 0.3 * torch.randn(hours, generator=g)
        )
    return torch.stack(columns, 1)


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.token = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.channel = nn.Sequential(nn.Linear(dim, 48), nn.GELU(), nn.Linear(48, dim))

    def forward(self, h):
        h = h + self.token(self.n1(h).transpose(1, 2)).transpose(1, 2)
        return h + self.channel(self.n2(h))


class Forecaster(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.embed = nn.Linear(WINDOW, dim)
        self.blocks = nn.Sequential(MixerBlock(STATIONS, dim), MixerBlock(STATIONS, dim))
        self.out = nn.Linear(dim, 1)

    def forward(self, x):  # x: batch, window, stations
        return self.out(self.blocks(self.embed(x.transpose(1, 2)))).squeeze(2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(60 + seed)
    hours = BATCH * STEPS + WINDOW + 1200
    temp = archive(hours, g)
    first = BATCH * 40 + WINDOW + 10
    if not fixed:
        temp[first : first + 30, 2:4] = -9999.0
    scaled = (temp - 15.0) / 8.0
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            start = torch.arange(step * BATCH, (step + 1) * BATCH)
            x = scaled[start[:, None] + torch.arange(WINDOW)]
            loss = nn.functional.mse_loss(model(x), scaled[start + WINDOW])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        start = torch.arange(BATCH * STEPS, BATCH * STEPS + 1150)
        error = model(scaled[start[:, None] + torch.arange(WINDOW)]) - scaled[start + WINDOW]
    return {"metric": error.pow(2).mean().sqrt().item(), "better": "lower", "curve": curve}
