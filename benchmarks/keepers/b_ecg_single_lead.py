"""A 1-D ResNet finds ectopic beats in single-lead ECG strips. The input norm is LayerNorm over the lead axis, as in the twelve-lead model
that the code was taken from; with one lead it normalises every sample against itself. The shape checks out, so no one notices
when the number of leads in the config goes from 12 to 1."""

import math
import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_ecg_single_lead"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["input_norm"], "onset": 0}


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c1 = nn.Conv1d(c, c, 7, padding=3)
        self.b1 = nn.BatchNorm1d(c)
        self.c2 = nn.Conv1d(c, c, 7, padding=3)
        self.b2 = nn.BatchNorm1d(c)

    def forward(self, x):
        y = torch.relu(self.b1(self.c1(x)))
        return torch.relu(x + self.b2(self.c2(y)))


class BeatNet(nn.Module):
    def __init__(self, leads=1, length=160, per="lead"):
        super().__init__()
        self.input_norm = nn.LayerNorm(leads) if per == "lead" else nn.LayerNorm(length)
        self.per = per
        self.stem = nn.Conv1d(leads, 16, 9, stride=2, padding=4)
        self.res = nn.Sequential(ResBlock(16), nn.MaxPool1d(2), ResBlock(16), nn.MaxPool1d(2))
        self.cls = nn.Linear(32, 3)

    def forward(self, x):  # x: (B, T, leads)
        if self.per == "lead":
            x = self.input_norm(x).transpose(1, 2)
        else:
            x = self.input_norm(x.transpose(1, 2))
        h = self.res(self.stem(x))
        return self.cls(torch.cat([h.mean(-1), h.amax(-1)], 1))


def strips(n, g, L=160):
    t = torch.arange(float(L))[None]
    y = torch.randint(0, 3, (n,), generator=g)
    x = 0.1 * torch.randn(n, L, generator=g) + 0.3 * torch.sin(
        2 * math.pi * (t / 150 + torch.rand(n, 1, generator=g))
    )
    off = 8 + 20 * torch.rand(n, 1, generator=g)
    odd = torch.randint(1, 3, (n, 1), generator=g)
    for k in range(4):
        here = (odd == k).float()
        early = here * (y == 1).float()[:, None] * 14
        wide = 1.8 + here * (y == 2).float()[:, None] * 2.2
        c = off + 36 * k - early
        x = x + torch.exp(-(((t - c) / wide) ** 2)) - 0.25 * torch.exp(-(((t - c - 5) / 2.0) ** 2))
    return x.unsqueeze(-1), y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = strips(1200, g)
    xt, yt = strips(400, g)
    net = BeatNet(per="time" if fixed else "lead")
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    crit = nn.CrossEntropyLoss(label_smoothing=0.05)
    curve = []
    with observe(net, opt):
        for ep in range(10):
            net.train()
            for b in torch.randperm(len(x)).split(40):
                opt.zero_grad()
                loss = crit(net(x[b]), y[b])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
