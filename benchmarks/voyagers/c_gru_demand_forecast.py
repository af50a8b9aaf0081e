"""GRU demand forecasting from a config; the input LayerNorm is sized by the number of features, which
is one for this univariate series, so each value is normalized by itself and becomes a constant."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "gru-demand-forecast"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["input_norm"], "onset": 0}

CONFIG = {
    "data": {"series": 60, "length": 400, "lookback": 36, "horizon": 6, "features": ["demand"]},
    "model": {"hidden": 40, "layers": 2},
    "optim": {"lr": 3e-3, "weight_decay": 1e-4},
    "train": {"batch_size": 64, "steps": 260, "clip": 1.0},
}


class DemandNet(nn.Module):
    def __init__(self, features, lookback, horizon, hidden, layers, norm_shape):
        super().__init__()
        self.norm_shape = norm_shape
        self.input_norm = nn.LayerNorm(norm_shape)
        self.rnn = nn.GRU(features, hidden, layers, batch_first=True)
        self.decoder = nn.Sequential(
            nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, horizon)
        )

    def forward(self, window):
        _, state = self.rnn(self.input_norm(window))
        return self.decoder(state[-1])


class WindowSampler:
    """Random windows of many series, each series standardized by its own training part."""

    def __init__(self, series, lookback, horizon, cut, g):
        mean = series[:, :cut].mean(1, keepdim=True)
        std = series[:, :cut].std(1, keepdim=True)
        self.series = (series - mean) / std
        self.lookback, self.horizon, self.cut, self.g = lookback, horizon, cut, g

    def sample(self, n, lo, hi):
        span = self.lookback + self.horizon
        row = torch.randint(len(self.series), (n, 1), generator=self.g)
        start = torch.randint(lo, hi - span, (n, 1), generator=self.g)
        window = self.series[row, start + torch.arange(span)]
        return window[:, : self.lookback, None], window[:, self.lookback :]


def make_demand(n, length, g):
    t = torch.arange(length).float()
    weekly = torch.sin(2 * math.pi * (t / 7 + torch.rand(n, 1, generator=g)))
    monthly = torch.sin(2 * math.pi * (t / 30 + torch.rand(n, 1, generator=g)))
    level = 50 + 100 * torch.rand(n, 1, generator=g)
    noise = 0.15 * torch.randn(n, length, generator=g)
    return level * (2 + 0.5 * weekly + 0.7 * monthly + 0.4 * noise)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data, run = CONFIG["data"], CONFIG["train"]
    cut = int(0.75 * data["length"])
    series = make_demand(data["series"], data["length"], g)
    sampler = WindowSampler(series, data["lookback"], data["horizon"], cut, g)

    features = len(data["features"])
    norm_shape = (data["lookback"], features) if fixed else (features,)
    model = DemandNet(
        features, data["lookback"], data["horizon"], norm_shape=norm_shape, **CONFIG["model"]
    )
    optimizer = torch.optim.AdamW(model.parameters(), **CONFIG["optim"])
    curve = []
    with observe(model, optimizer):
        for _ in range(run["steps"]):
            window, future = sampler.sample(run["batch_size"], 0, cut)
            loss = F.smooth_l1_loss(model(window), future)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), run["clip"])
            optimizer.step()
            curve.append(loss.item())
    window, future = sampler.sample(1500, cut, data["length"])
    with torch.no_grad():
        mae = (model(window) - future).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
