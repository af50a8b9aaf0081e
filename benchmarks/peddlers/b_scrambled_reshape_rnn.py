"""Sensor-event counting with an own GRU that wants time first; data come batch first.
Bug (not in the list): the axes are exchanged by reshape(T, B, D) instead of transpose(0, 1): each 'sequence' is a mix of several samples."""

import math
import torch
import torch.nn as nn

ID = "b_scrambled_reshape_rnn"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class MinGRU(nn.Module):
    """time-first gated recurrence: T, B, D -> T, B, H"""

    def __init__(self, d, h):
        super().__init__()
        self.h = h
        self.wz, self.wc = (
            nn.Parameter(torch.randn(d + h, h) / math.sqrt(d + h)),
            nn.Parameter(torch.randn(d + h, h) / math.sqrt(d + h)),
        )
        self.bz, self.bc = nn.Parameter(torch.full((h,), -1.0)), nn.Parameter(torch.zeros(h))

    def forward(self, x):
        h = x.new_zeros(x.shape[1], self.h)
        hs = []
        for xt in x:
            u = torch.cat([xt, h], 1)
            z = torch.sigmoid(u @ self.wz + self.bz)
            h = h + z * (torch.tanh(u @ self.wc + self.bc) - h)
            hs.append(h)
        return torch.stack(hs)


class Counter(nn.Module):
    def __init__(self, d=3, h=48, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.lift = nn.Parameter(torch.randn(d, 24) / math.sqrt(d))
        self.lift_b = nn.Parameter(0.5 * torch.randn(24))
        self.rnn = MinGRU(24, h)
        self.v = nn.Parameter(torch.randn(2 * h, 1) / math.sqrt(2 * h))
        self.v0 = nn.Parameter(torch.zeros(1))

    def forward(self, x):  # B, T, D
        B, T, _ = x.shape
        e = torch.relu(x @ self.lift + self.lift_b)
        e = e.transpose(0, 1) if self.fixed else e.reshape(T, B, -1)
        hs = self.rnn(e)
        return (torch.cat([hs[-1], hs.mean(0)], 1) @ self.v + self.v0)[:, 0]


def recordings(n, g, T=30):
    """target: how often the door signal follows the motion signal (order matters), standardised"""
    rate = torch.rand(n, 1, generator=g) * 0.5
    follow = torch.rand(n, 1, generator=g)
    motion = (torch.rand(n, T, generator=g) < rate).float()
    door = torch.zeros(n, T)
    door[:, 1:] = motion[:, :-1] * (torch.rand(n, T - 1, generator=g) < follow).float()
    door = torch.maximum(door, (torch.rand(n, T, generator=g) < 0.1).float())
    y = (motion[:, :-1] * door[:, 1:]).sum(1)
    x = torch.stack([motion, door, torch.randn(n, T, generator=g) * 0.3], -1)
    return x, (y - 4.0) / 3.5


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 161)
    X, Y = recordings(4000, g)
    model = Counter(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            j = torch.randint(0, 3400, (50,), generator=g)
            loss = (model(X[j]) - Y[j]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mse = (model(X[3400:]) - Y[3400:]).square().mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
