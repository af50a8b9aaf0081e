"""Temporal convolution network on sensor sequences, nine gated blocks with sigmoid activations. A refactoring returns `self.act(h)` instead of `x + self.act(h)`: without the skip
the gradient fades by about four per block."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_tcn_lost_skip"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["stem", "blocks"]
    + [f"blocks.{i}" for i in range(9)]
    + [f"blocks.{i}.conv" for i in range(9)],
    "onset": (0, 0),
}


class TemporalBlock(nn.Module):
    def __init__(self, c, dilation, skip):
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv1d(c, c, 3, dilation=dilation)
        self.act = nn.Sigmoid()
        self.skip = skip

    def forward(self, x):
        h = self.act(self.conv(F.pad(x, (self.pad, 0))))
        return x + h if self.skip else h


class TCN(nn.Module):
    def __init__(self, channels=24, classes=5, skip=False):
        super().__init__()
        self.stem = nn.Conv1d(2, channels, 1)
        self.blocks = nn.Sequential(
            *[TemporalBlock(channels, 2 ** (i % 3), skip) for i in range(9)]
        )
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x)).mean(-1)))


def gestures(n, g, T=40):
    y = torch.randint(0, 5, (n,), generator=g)
    t = torch.arange(T).float()[None]
    f = 0.25 + 0.09 * y[:, None].float() + 0.01 * torch.randn(n, 1, generator=g)
    ph = 6.283 * torch.rand(n, 1, generator=g)
    a = 0.8 + 0.4 * torch.rand(n, 1, generator=g)
    x = torch.stack([a * torch.sin(f * t + ph), a * torch.cos(f * t + ph)], 1)
    return x + 0.3 * torch.randn(n, 2, T, generator=g), y


def run_epoch(net, opt, x, y, bs, g, curve):
    net.train()
    for i in torch.randperm(len(x), generator=g).split(bs):
        loss = F.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 17)
    x, y = gestures(2400, g)
    vx, vy = gestures(800, g)
    net = TCN(skip=fixed)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, opt):
        for epoch in range(10):
            run_epoch(net, opt, x, y, 60, g, curve)
    net.eval()
    with torch.no_grad():
        acc = (net(vx).argmax(1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
