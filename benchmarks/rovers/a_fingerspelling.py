"""Gestures from sequences of hand landmarks, read by a two-layer LSTM. The loader gives (batch, time, landmarks) and `batch_first` was left at its
default, so the recurrence runs over the samples of the batch and the 'last output' sees only the final frame, the hand at rest."""

import numpy as np
import torch
import torch.nn as nn

ID = "a_fingerspelling"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["lstm"], "onset": 0}


def gestures(rng, n, T=20, classes=6):
    label = rng.integers(0, classes, n)
    t = np.linspace(0, 1, T)[None, :]
    envelope = np.sin(np.pi * t)  # begins and ends at rest
    ph = rng.normal(0, 0.25, (n, 1))
    speed = rng.uniform(0.85, 1.15, (n, 1))
    turn = np.where(label % 2 == 0, 1.0, -1.0)[:, None]
    freq = (1 + label // 2)[:, None]
    x = envelope * np.cos(2 * np.pi * freq * speed * t + ph)
    y = envelope * turn * np.sin(2 * np.pi * freq * speed * t + ph)
    hand = np.stack([x, y], -1)
    fingers = np.stack([hand + rng.normal(0, 0.1, (n, 1, 2)) for _ in range(5)], 2).reshape(
        n, T, 10
    )
    return torch.tensor(
        fingers + rng.normal(0, 0.15, fingers.shape), dtype=torch.float32
    ), torch.tensor(label)


class GestureLSTM(nn.Module):
    def __init__(self, features, hidden, classes, **kw):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2, dropout=0.1, **kw)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.classifier(out[:, -1])


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = gestures(rng, 1500)
    net = GestureLSTM(10, 32, 6, **({"batch_first": True} if fixed else {}))
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x[:1200], y[:1200]), batch_size=40, shuffle=True
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.02)
    curve = []
    with observe(net, optimizer):
        for epoch in range(14):
            net.train()
            for frames, target in loader:
                optimizer.zero_grad()
                loss = criterion(net(frames), target)
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimizer.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(x[1200:]).argmax(1) == y[1200:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
