"""An LSTM forecaster of hourly power load whose hand-written MSE subtracts a (batch,) target from
a (batch, 1) prediction, so every prediction is compared to every target and the net learns the
mean (the forum question "my LSTM predicts a flat line")."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

ID = "a-lstm-power-forecast"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


def power_load(n):
    t = torch.arange(n, dtype=torch.float32)
    daily = torch.sin(2 * math.pi * t / 24) + 0.4 * torch.sin(4 * math.pi * t / 24 + 1.0)
    weekly = 0.6 * torch.sin(2 * math.pi * t / 168)
    drift = torch.randn(n).cumsum(0) * 0.02
    return daily + weekly + drift - drift.mean() + 0.05 * torch.randn(n)


class WindowDataset(Dataset):
    def __init__(self, series, window=24):
        self.series, self.window = series, window

    def __len__(self):
        return len(self.series) - self.window

    def __getitem__(self, i):
        x = self.series[i : i + self.window].unsqueeze(-1)
        return x, self.series[i + self.window]


class LSTMRegressor(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.linear(out[:, -1])


def mse(prediction, target):
    return torch.mean((prediction - target) ** 2)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    series = power_load(3000)
    series = (series - series[:2400].mean()) / series[:2400].std()
    train_loader = DataLoader(WindowDataset(series[:2400]), batch_size=64, shuffle=True)
    test_loader = DataLoader(WindowDataset(series[2376:]), batch_size=256)
    model = LSTMRegressor()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for x, y in train_loader:
                if fixed:
                    y = y.unsqueeze(1)
                optimizer.zero_grad()
                loss = mse(model(x), y)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    error, count = 0.0, 0
    with torch.no_grad():
        for x, y in test_loader:
            error += (model(x).squeeze(1) - y).abs().sum().item()
            count += len(y)
    return {"metric": error / count, "better": "lower", "curve": curve}
