"""Temporal conv net for one-step load forecasts: the dilated convolutions are padded on both
sides, so every position sees the value it has to predict and the net only learns to copy it."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "tcn-load-forecast"
CONVS = [f"blocks.{i}.{n}" for i in range(4) for n in ("conv1", "conv2")]
TRUTH = {
    "mechanisms": ["unknown_cause"],
    "layers": ["blocks", *(f"blocks.{i}" for i in range(4)), *CONVS],
    "onset": 0,
}
LENGTH = 96


def load_curves(n, gen):
    """Daily and weekly waves, a lagged self-excitation and weather noise; about unit scale."""
    t = torch.arange(LENGTH + 1).float()
    phase = 6.28 * torch.rand(n, 2, 1, generator=gen)
    amp = 0.5 + torch.rand(n, 2, 1, generator=gen)
    wave = amp[:, 0] * torch.sin(t / 24 * 6.28 + phase[:, 0])
    wave = wave + amp[:, 1] * torch.sin(t / 9 * 6.28 + phase[:, 1])
    noise = torch.randn(n, LENGTH + 1, generator=gen)
    x = torch.zeros(n, LENGTH + 1)
    for i in range(LENGTH + 1):
        lag = x[:, i - 5] if i >= 5 else 0.0
        x[:, i] = 0.6 * wave[:, i] - 0.5 * lag + 0.25 * noise[:, i]
    return x


class TemporalBlock(nn.Module):
    def __init__(self, c_in, c_out, kernel, dilation, causal):
        super().__init__()
        total = (kernel - 1) * dilation
        self.pad = (total, 0) if causal else (total // 2, total - total // 2)
        self.conv1 = nn.Conv1d(c_in, c_out, kernel, dilation=dilation)
        self.conv2 = nn.Conv1d(c_out, c_out, kernel, dilation=dilation)
        self.skip = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.drop = nn.Dropout(0.05)

    def forward(self, x):
        h = self.drop(F.relu(self.conv1(F.pad(x, self.pad))))
        h = self.drop(F.relu(self.conv2(F.pad(h, self.pad))))
        return F.relu(h + self.skip(x))


class TCN(nn.Module):
    def __init__(self, width=32, kernel=3, dilations=(1, 2, 4, 8), causal=False):
        super().__init__()
        sizes = [1] + [width] * len(dilations)
        self.blocks = nn.Sequential(
            *(
                TemporalBlock(sizes[i], sizes[i + 1], kernel, d, causal)
                for i, d in enumerate(dilations)
            )
        )
        self.head = nn.Conv1d(width, 1, 1)

    def forward(self, x):
        return self.head(self.blocks(x[:, None]))[:, 0]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 11)
    data, val = load_curves(1500, gen), load_curves(400, gen)
    model = TCN(causal=fixed)
    optimizer = torch.optim.RAdam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            series = data[torch.randint(0, len(data), (24,), generator=gen)]
            loss = F.mse_loss(model(series[:, :-1]), series[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():  # as deployed: the series ends today, tomorrow is unknown
        forecast = model(val[:, :-1])[:, -1]
    return {
        "metric": F.mse_loss(forecast, val[:, -1]).item(),
        "better": "lower",
        "curve": curve,
    }
