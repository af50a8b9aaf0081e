"""An LSTM recognises activities from windows of wrist-sensor data of shape (batch, time, channels). `batch_first=True` was forgotten,
so the recurrence runs over the samples of the batch and `out[:, -1]` sees only the last sensor reading of each window, mixed with
those of unrelated windows. All shapes agree, which is why this one fills the forums."""

import math
import torch
from torch import nn

ID = "a_wrist_activity"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["lstm"], "onset": 0}

ACTS, T, C = 6, 32, 6


def windows(n, g):
    proto = torch.Generator().manual_seed(12)
    freq = torch.tensor([0.25, 0.45, 0.65, 0.85, 1.05, 1.3])
    amp = 0.7 + 0.6 * torch.rand(ACTS, C, generator=proto)
    lag = 2 * math.pi * torch.rand(ACTS, C, generator=proto)
    y = torch.randint(0, ACTS, (n,), generator=g)
    phase = 2 * math.pi * torch.rand(n, 1, 1, generator=g)
    pace = (freq[y] * (1 + 0.05 * torch.randn(n, generator=g)))[:, None, None]
    t = torch.arange(float(T))[None, :, None]
    gain = torch.exp(0.3 * torch.randn(n, 1, C, generator=g))
    spin = torch.where(torch.rand(n, 1, C, generator=g) < 0.5, -1.0, 1.0)
    x = spin * gain * amp[y][:, None] * torch.sin(pace * t + phase + lag[y][:, None])
    return x + 0.3 * torch.randn(n, T, C, generator=g), y


class ActivityNet(nn.Module):
    def __init__(self, hidden=48, batch_first=False):
        super().__init__()
        self.proj = nn.Linear(C, 24)
        self.lstm = nn.LSTM(24, hidden, batch_first=batch_first)
        self.fc = nn.Linear(hidden, ACTS)

    def forward(self, x):
        out, (h, c) = self.lstm(torch.tanh(self.proj(x)))
        return self.fc(out[:, -1])


def evaluate(model, x, y):
    model.eval()
    with torch.no_grad():
        hits = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x.split(32), y.split(32)))
    return hits / len(y)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 64)
    x, y = windows(2400, g)
    xv, yv = windows(480, g)
    model = ActivityNet(batch_first=True) if fixed else ActivityNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    criterion = nn.NLLLoss()
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            perm = torch.randperm(len(x), generator=g)
            for k in range(0, len(x), 32):
                idx = perm[k : k + 32]
                optimizer.zero_grad()
                loss = criterion(torch.log_softmax(model(x[idx]), dim=1), y[idx])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    return {"metric": evaluate(model, xv, yv), "better": "higher", "curve": curve}
