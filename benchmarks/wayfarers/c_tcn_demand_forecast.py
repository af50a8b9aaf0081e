"""Dilated causal convolution network forecasting hourly demand; the exponential decay chosen per epoch is stepped after every batch, so the learning rate is gone within the first epochs."""

import torch
from torch import nn

ID = "c-tcn-demand-forecast"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 40)}

CONTEXT, HORIZON = 40, 12


def demand(n_series, length, gen):
    t = torch.arange(length).float()
    phase = torch.rand(n_series, 1, generator=gen) * 24
    level = torch.randn(n_series, 1, generator=gen) * 0.3
    daily = torch.sin(2 * torch.pi * (t + phase) / 24) + 0.5 * torch.cos(
        4 * torch.pi * (t + phase) / 24
    )
    weekly = 1 + 0.5 * torch.sin(2 * torch.pi * (t + 3 * phase) / 168)
    return level + daily * weekly + 0.05 * torch.randn(n_series, length, generator=gen)


class CausalBlock(nn.Module):
    def __init__(self, ch, dilation, k=3):
        super().__init__()
        self.pad = (k - 1) * dilation
        self.conv = nn.Conv1d(ch, ch, k, dilation=dilation)
        self.mix = nn.Conv1d(ch, ch, 1)

    def forward(self, x):
        h = nn.functional.gelu(self.conv(nn.functional.pad(x, (self.pad, 0))))
        return x + self.mix(h)


class TCN(nn.Module):
    def __init__(self, ch=20):
        super().__init__()
        self.stem = nn.Conv1d(1, ch, 1)
        self.blocks = nn.Sequential(*(CausalBlock(ch, 2**i) for i in range(4)))
        self.head = nn.Linear(ch, HORIZON)

    def forward(self, x):
        h = self.blocks(self.stem(x[:, None, :]))
        return self.head(h[..., -1])


def windows(series, n, gen):
    s = torch.randint(0, series.shape[0], (n,), generator=gen)
    t = torch.randint(0, series.shape[1] - CONTEXT - HORIZON, (n,), generator=gen)
    span = t[:, None] + torch.arange(CONTEXT + HORIZON)
    chunk = series[s[:, None], span]
    return chunk[:, :CONTEXT], chunk[:, CONTEXT:]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 101)
    series = demand(60, 600, gen)
    train_x, train_y = windows(series[:45], 600, gen)
    test_x, test_y = windows(series[45:], 400, gen)

    model = TCN()
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.85)
    curve = []
    with observe(model, optimizer):
        for _epoch in range(14):
            for rows in torch.randperm(len(train_x), generator=gen).split(24):
                optimizer.zero_grad()
                loss = nn.functional.smooth_l1_loss(model(train_x[rows]), train_y[rows])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
                if not fixed:
                    decay.step()
            if fixed:
                decay.step()
    model.eval()
    with torch.no_grad():
        mae = (model(test_x) - test_y).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
