"""Bidirectional LSTM on accelerometer windows (gait phase and speed regression).
Bug (not in the list): the tensors are (batch, time, feature) but the LSTM is built without batch_first=True: it runs over the samples of
the batch and treats time steps as independent sequences."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_gait_batch_axis"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
T = 32


def windows(n, g):
    w = 0.15 + 0.35 * torch.rand(n, 1, generator=g)  # stride frequency
    ph = torch.rand(n, 1, generator=g) * 2 * math.pi
    t = torch.arange(T).float()
    a = w * t + ph
    asym = torch.rand(n, 1, generator=g)
    x = torch.stack([torch.sin(a), torch.cos(2 * a + asym), asym * torch.sin(a / 2)], -1)
    x = x * (0.6 + 0.8 * torch.rand(n, 1, 1, generator=g)) + 0.3 * torch.randn(n, T, 3, generator=g)
    end = w * (T - 1) + ph
    y = torch.cat([(w - 0.325) / 0.1, torch.sin(end), torch.cos(end)], 1)
    return x, y


class GaitNet(nn.Module):
    def __init__(self, fixed, d=24):
        super().__init__()
        self.rnn = nn.LSTM(3, d, bidirectional=True, batch_first=fixed)
        self.att = nn.Linear(2 * d, 1)
        self.head = nn.Sequential(nn.Linear(4 * d, 32), nn.SiLU(), nn.Linear(32, 3))

    def forward(self, x):
        h, _ = self.rnn(x)
        w = self.att(h).softmax(1)
        return self.head(torch.cat([(w * h).sum(1), h[:, -1]], -1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 12)
    X, Y = windows(3000, g)
    Xt, Yt = windows(600, g)
    model = GaitNet(fixed)
    opt = torch.optim.NAdam(model.parameters(), lr=3e-3)
    steps = 400
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            i = torch.randint(0, len(X), (40,), generator=g)
            loss = F.mse_loss(model(X[i]), Y[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = sum(F.mse_loss(model(a), b).item() for a, b in zip(Xt.split(40), Yt.split(40))) / 15
    return {"metric": m, "better": "lower", "curve": curve}
