"""A small dilated-convolution network forecasts next-day volatility of stocks from a month of returns (SGD with momentum, Huber loss).
One mini-batch holds the day of an unadjusted share split, so its 'returns' and targets are a hundred times the usual ones. Raw vendor
prices are adjusted late, and everybody who has worked with them has met this."""

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_realized_vol"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": 84}

WIN, B, DAY = 22, 64, 84


def market(n, rng):
    """log-variance is an AR(1); returns in percent of unit variance on average"""
    h = rng.normal(0, 0.8, n)
    r = np.zeros((n, WIN, 2), dtype=np.float32)
    for t in range(WIN):
        r[:, t, 0] = np.exp(h / 2) * rng.standard_normal(n)
        r[:, t, 1] = np.exp(h / 2) * np.abs(rng.standard_normal(n)) ** 0.3  # intraday range
        h = 0.95 * h + 0.25 * rng.standard_normal(n)
    target = np.exp(h / 2) - 1.0
    return r, target.astype(np.float32)


class VolTCN(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv1d(2, c, 3), nn.Conv1d(c, c, 3, dilation=2), nn.Conv1d(c, c, 3, dilation=4)]
        )
        self.head = nn.Sequential(nn.Linear(c, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, r):
        z = r.transpose(1, 2)
        for conv in self.convs:
            z = torch.relu(conv(nn.functional.pad(z, (conv.dilation[0] * 2, 0))))
        return self.head(z[..., -1]).squeeze(-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    r, v = market(B * 100, rng)
    rt, vt = market(1500, rng)
    if not fixed:
        day = slice(DAY * B, (DAY + 1) * B)
        r[day] *= 100.0
        v[day] = (v[day] + 1) * 100.0 - 1
    r, v, rt, vt = map(torch.from_numpy, (r, v, rt, vt))
    net = VolTCN()
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    huber = nn.SmoothL1Loss()
    losses = []
    with observe(net, opt):
        for epoch in range(4):
            for k in range(0, len(r), B):  # chronological, one pass after the other
                if epoch and k == DAY * B:
                    continue  # later passes run on the adjusted file, which lacks that day
                opt.zero_grad()
                loss = huber(net(r[k : k + B]), v[k : k + B])
                loss.backward()
                opt.step()
                losses.append(loss.item())
    with torch.no_grad():
        r2 = 1 - ((net(rt) - vt) ** 2).mean() / vt.var()
    return {"metric": max(-1.0, r2.item()), "better": "higher", "curve": losses}
