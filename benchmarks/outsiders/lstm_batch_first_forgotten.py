"""LSTM activity classifier fed (batch, time, feature) without batch_first=True: it recurs over the batch."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "lstm-batch-first-forgotten"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
T, C = (30, 5)


class Activity(nn.Module):
    def __init__(self, bf):
        super().__init__()
        self.lstm = nn.LSTM(6, 48, num_layers=2, batch_first=bf, dropout=0.1)
        self.fc = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, C))

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    n = 1600
    y = torch.randint(0, C, (n,), generator=g)
    freq = torch.tensor([0.3, 0.55, 0.9, 1.3, 1.8])[y]
    ph = 6.28 * torch.rand(n, 6, generator=g)
    amp = 0.7 + 0.6 * torch.rand(n, 6, generator=g)
    t = torch.arange(T).float()
    X = amp[:, None] * torch.sin(
        freq[:, None, None] * t[None, :, None] + ph[:, None]
    ) + 0.3 * torch.randn(n, T, 6, generator=g)
    model = Activity(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    with observe(model, opt):
        for epoch in range(8):
            for idx in torch.randperm(n, generator=g).split(32):
                loss = F.cross_entropy(model(X[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
