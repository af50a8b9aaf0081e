"""Sound classes from a learned filterbank; its magnitude is a bare square root, a few clips are padded."""

import math

import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils.rnn import pad_sequence

ID = "learned-filterbank-sqrt-silence"
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["filterbank", "filterbank.real", "filterbank.imag"],
    "onset": (0, 24),
}

LENGTH, RATE = 1600, 4000


def synthesise(kind, rng):
    t = np.arange(LENGTH) / RATE
    f, phase = rng.uniform(250, 700), rng.uniform(0, 2 * math.pi)
    if kind == 0:  # steady tone
        wave = np.sin(2 * math.pi * f * t + phase)
    elif kind == 1:  # rising sweep
        wave = np.sin(2 * math.pi * (f * t + 900 * t**2) + phase)
    elif kind == 2:  # falling sweep
        wave = np.sin(2 * math.pi * ((f + 720) * t - 900 * t**2) + phase)
    elif kind == 3:  # tremolo
        wave = np.sin(2 * math.pi * f * t + phase) * (1 + np.sin(2 * math.pi * 14 * t)) / 2
    else:  # vibrato
        wave = np.sin(2 * math.pi * f * t + 9 * np.sin(2 * math.pi * 11 * t) + phase)
    return rng.uniform(0.5, 1.0) * wave + 0.1 * rng.standard_normal(LENGTH)


def recordings(n, rng, cut_short=0):
    labels = rng.integers(0, 5, n)
    clips = [torch.tensor(synthesise(k, rng), dtype=torch.float32) for k in labels]
    for i in range(cut_short):
        clips[i] = clips[i][: LENGTH - 300]
    return clips, torch.tensor(labels)


class Filterbank(nn.Module):
    """Pairs of filters started as windowed sines and cosines; returns log-compressed magnitudes."""

    def __init__(self, bands=20, width=96, hop=40, eps=0.0):
        super().__init__()
        self.real = nn.Conv1d(1, bands, width, stride=hop, bias=False)
        self.imag = nn.Conv1d(1, bands, width, stride=hop, bias=False)
        self.eps = eps
        t = torch.arange(width) / RATE
        f = torch.linspace(150, 1700, bands).unsqueeze(1)
        window = torch.hann_window(width) / width * 4
        with torch.no_grad():
            self.real.weight.copy_((window * torch.cos(2 * math.pi * f * t)).unsqueeze(1))
            self.imag.weight.copy_((window * torch.sin(2 * math.pi * f * t)).unsqueeze(1))

    def forward(self, wave):
        wave = wave.unsqueeze(1)
        magnitude = torch.sqrt(self.real(wave) ** 2 + self.imag(wave) ** 2 + self.eps)
        return torch.log1p(10 * magnitude)


class SoundNet(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.filterbank = Filterbank(eps=eps)
        self.norm = nn.BatchNorm1d(20)
        self.conv1 = nn.Conv1d(20, 32, 5, padding=2)
        self.conv2 = nn.Conv1d(32, 32, 5, stride=2, padding=2)
        self.fc = nn.Linear(64, 5)

    def forward(self, wave):
        x = self.norm(self.filterbank(wave))
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(torch.cat([x.mean(-1), x.amax(-1)], 1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    clips, labels = recordings(600, rng, cut_short=4)
    held, held_labels = recordings(200, rng)
    model = SoundNet(eps=1e-6 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(20):
            for idx in torch.randperm(len(clips)).split(24):
                wave = pad_sequence([clips[i] for i in idx], batch_first=True)
                loss = nn.functional.cross_entropy(model(wave), labels[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(torch.stack(held)).argmax(1) == held_labels).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
