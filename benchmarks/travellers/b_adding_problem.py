"""Healthy but odd: an LSTM on the adding problem; the loss lies flat at the variance of the target
for a long while before it falls off a cliff."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "adding-problem-lstm-plateau"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

LENGTH = 24


def sequences(n, length, gen):
    values = torch.rand(n, length, generator=gen)
    marks = torch.zeros(n, length)
    half = length // 2
    marks[torch.arange(n), torch.randint(0, half, (n,), generator=gen)] = 1.0
    marks[torch.arange(n), torch.randint(half, length, (n,), generator=gen)] = 1.0
    return torch.stack([values, marks], dim=-1), (values * marks).sum(1)


class Adder(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.rnn = nn.LSTM(2, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 1)
        with torch.no_grad():
            self.rnn.bias_ih_l0[hidden : 2 * hidden].fill_(1.0)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.readout(out[:, -1]).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 2)
    model = Adder()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            x, y = sequences(64, LENGTH, gen)
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = sequences(1000, LENGTH, gen)
        metric = F.mse_loss(model(x), y).item()
    return {"metric": metric, "better": "lower", "curve": curve}
