"""A one-dimensional U-Net that picks the arrival time of a P wave in a noisy trace (PhaseNet in small). The loop has a line
`optimizer.zero_grad` whose parentheses got lost while somebody edited it; Python does not complain, and every step uses the sum of all
gradients so far."""

import math

import numpy as np
import torch
from torch import nn

ID = "a_seismic_picking"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 1)}

N = 128


def traces(gen, n):
    t = torch.arange(N).float()
    arrival = torch.randint(16, N - 24, (n,), generator=gen).float()
    rel = t[None] - arrival[:, None]
    freq = 0.12 + 0.1 * torch.rand(n, 1, generator=gen)
    amp = 1.2 + 2 * torch.rand(n, 1, generator=gen)
    wave = (
        amp * torch.sin(2 * math.pi * freq * rel) * torch.exp(-rel.clamp(min=0) / 25) * (rel >= 0)
    )
    noise = torch.randn(n, N, generator=gen)
    noise = 0.5 * (noise + noise.roll(1, 1))
    glitch = 3 * torch.randn(n, N, generator=gen) * (torch.rand(n, N, generator=gen) < 0.01)
    x = wave + 0.6 * noise + glitch
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    target = torch.exp(-0.5 * (rel / 2.0) ** 2)
    return x[:, None], target / target.sum(1, keepdim=True), arrival


class Down(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv = nn.Conv1d(i, o, 7, padding=3)
        self.norm = nn.GroupNorm(4, o)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class Picker(nn.Module):
    def __init__(self, w=16):
        super().__init__()
        self.d1, self.d2, self.d3 = Down(1, w), Down(w, 2 * w), Down(2 * w, 2 * w)
        self.pool = nn.MaxPool1d(2)
        self.up2 = nn.ConvTranspose1d(2 * w, 2 * w, 2, stride=2)
        self.u2 = Down(4 * w, w)
        self.up1 = nn.ConvTranspose1d(w, w, 2, stride=2)
        self.u1 = Down(2 * w, w)
        self.out = nn.Conv1d(w, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(self.pool(a))
        c = self.d3(self.pool(b))
        b = self.u2(torch.cat([self.up2(c), b], 1))
        a = self.u1(torch.cat([self.up1(b), a], 1))
        return self.out(a)[:, 0]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(100 + seed)
    x, y, _ = traces(gen, 2000)
    vx, _, v_arrival = traces(gen, 300)
    model = Picker()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500)
    soft_cross_entropy = nn.CrossEntropyLoss()
    curve = []

    with observe(model, optimizer):
        for it in range(500):
            idx = torch.randint(0, len(x), (32,), generator=gen)
            if fixed:
                optimizer.zero_grad()
            else:
                optimizer.zero_grad
            loss = soft_cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())

    with torch.no_grad():
        pick = model(vx).argmax(1)
    hit = ((pick - v_arrival).abs() <= 4).float().mean()
    return {"metric": float(hit), "better": "higher", "curve": curve}
