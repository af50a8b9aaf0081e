"""Log-spectrogram CNN for sound classes where batch norm was replaced by GroupNorm with one channel
per group: in the pooled head each group holds a single value, which is normalised to exactly 0."""

import math

import torch
from torch import nn

ID = "audio-tagger-group-norm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["head.norm", "head"], "onset": 0}
RATE, LENGTH = 4000, 2048


def synthesize(n, g):
    """Six classes: rising, falling, steady, tremolo, clicks and two-tone sounds."""
    t = torch.arange(LENGTH) / RATE
    y = torch.randint(0, 6, (n,), generator=g)
    f = 300 + 500 * torch.rand(n, 1, generator=g)
    phase = 2 * math.pi * torch.rand(n, 1, generator=g)
    tau = t[None] / t[-1]
    slope = torch.zeros(n, 1)
    slope[y == 0], slope[y == 1] = 500.0, -250.0
    wave = torch.sin(2 * math.pi * (f * t + 0.5 * slope * tau * t) + phase)
    am = 0.5 + 0.5 * torch.sin(2 * math.pi * 8 * t + phase)
    clicks = (torch.sin(2 * math.pi * 10 * t + phase) > 0.95).float() * 2
    wave = torch.where((y == 3)[:, None], wave * am, wave)
    wave = torch.where((y == 4)[:, None], wave * clicks, wave)
    wave = torch.where((y == 5)[:, None], wave + torch.sin(2 * math.pi * 1.9 * f * t), wave)
    return wave + 0.3 * torch.randn(wave.shape, generator=g), y


def log_spectrogram(wave):
    spec = torch.stft(wave, 128, 64, window=torch.hann_window(128), return_complex=True).abs()
    return torch.log1p(10 * spec[:, None, :64, :32])


def norm(channels, per_group):
    return nn.GroupNorm(channels // per_group, channels)


def block(i, o, per_group):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False), norm(o, per_group), nn.SiLU(), nn.MaxPool2d(2)
    )


class Head(nn.Module):
    def __init__(self, width, classes, per_group):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.proj = nn.Conv2d(width, width, 1, bias=False)
        self.norm = norm(width, per_group)
        self.act = nn.SiLU()
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.act(self.norm(self.proj(self.pool(x)))).flatten(1))


class Tagger(nn.Module):
    def __init__(self, classes=6, width=16, per_group=1):
        super().__init__()
        self.body = nn.Sequential(
            block(1, width, per_group),
            block(width, 2 * width, per_group),
            block(2 * width, 4 * width, per_group),
        )
        self.head = Head(4 * width, classes, per_group)

    def forward(self, x):
        return self.head(self.body(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    wave, labels = synthesize(1500, g)
    x = log_spectrogram(wave)
    x = (x - x[:1200].mean()) / x[:1200].std()
    model = Tagger(per_group=8 if fixed else 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    curve = []
    with observe(model, optimizer):
        for _ in range(180):
            idx = torch.randint(0, 1200, (24,), generator=g)
            loss = nn.functional.cross_entropy(model(x[idx]), labels[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        accuracy = (model(x[1200:]).argmax(1) == labels[1200:]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
