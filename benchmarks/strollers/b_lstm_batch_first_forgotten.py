"""Activity recognition with an LSTM: data is (batch, time, channels) but batch_first=True was forgotten, so the recurrence runs over the batch and
out[:, -1] only sees the last sample of each window (and its neighbours in the batch). No mechanism of the list: a wrong axis."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import TensorDataset, DataLoader

ID = "b_lstm_batch_first_forgotten"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["lstm"], "onset": (0, 0)}


class HARModel(nn.Module):
    def __init__(self, n_features=6, hidden=32, classes=5, batch_first=False):
        super().__init__()
        self.fc_in = nn.Linear(n_features, 24)
        self.lstm = nn.LSTM(24, hidden, num_layers=1, batch_first=batch_first)
        self.dropout = nn.Dropout(0.2)
        self.fc_out = nn.Linear(hidden, classes)

    def forward(self, x):
        x = F.relu(self.fc_in(x))
        out, _ = self.lstm(x)
        return self.fc_out(self.dropout(out[:, -1, :]))


def windows(n, g, steps=32):
    y = torch.randint(0, 5, (n,), generator=g)
    freq = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])[y].view(-1, 1)
    t = torch.linspace(0, 1, steps).view(1, -1)
    phase = torch.rand(n, 1, generator=g) * 6.283
    base = torch.sin(6.283 * freq * t + phase)
    mix = torch.randn(6, generator=g)
    x = base.unsqueeze(-1) * mix + 0.5 * torch.randn(n, steps, 6, generator=g)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 77)
    x, y = windows(2500, g)
    xtr, ytr, xte, yte = x[:2000], y[:2000], x[2000:], y[2000:]
    model = HARModel(batch_first=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(
        TensorDataset(xtr, ytr), batch_size=50, shuffle=True, num_workers=0, drop_last=True
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            model.train()
            for xb, yb in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        out = torch.cat([model(xte[k : k + 50]) for k in range(0, len(xte), 50)])
        acc = (out.argmax(1) == yte).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
