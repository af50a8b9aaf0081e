"""A WaveNet-like stack predicts the mu-law class of the next audio sample. The waveform goes in as the int16 values of the file, cast to
float but never divided by 32768, so the gates tanh * sigmoid are driven far outside their range. People convert the targets (which go
through mu-law and need [-1, 1]) and forget the inputs."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_wavenet_int16"
TRUTH = {"mechanisms": ["unnormalized_inputs", "saturated_activations"], "layers": None, "onset": 0}
CLASSES = 32


class GatedLayer(nn.Module):
    def __init__(self, c, dilation):
        super().__init__()
        self.pad = dilation
        self.conv = nn.Conv1d(c, 2 * c, 2, dilation=dilation)
        self.res = nn.Conv1d(c, c, 1)
        self.skip = nn.Conv1d(c, c, 1)

    def forward(self, x):
        f, g = self.conv(F.pad(x, (self.pad, 0))).chunk(2, 1)
        z = torch.tanh(f) * torch.sigmoid(g)
        return x + self.res(z), self.skip(z)


class WaveNet(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.front = nn.Conv1d(1, c, 1)
        self.layers = nn.ModuleList(GatedLayer(c, 2**k) for k in range(6))
        self.post = nn.Sequential(
            nn.ReLU(), nn.Conv1d(c, 48, 1), nn.ReLU(), nn.Conv1d(48, CLASSES, 1)
        )

    def forward(self, wav):
        x, total = self.front(wav.unsqueeze(1)), 0.0
        for layer in self.layers:
            x, s = layer(x)
            total = total + s
        return self.post(total)


def notes(n, length, g):
    t = torch.arange(length) / 8000.0
    f0 = 150 + 350 * torch.rand(n, 1, generator=g)
    wav = 0.0
    for h, a in ((1, 1.0), (2, 0.5), (3, 0.25)):
        ph = 2 * math.pi * torch.rand(n, 1, generator=g)
        wav = wav + a * torch.sin(2 * math.pi * h * f0 * t + ph)
    wav = wav * (0.15 + 0.35 * torch.rand(n, 1, generator=g)) + 0.003 * torch.randn(
        n, length, generator=g
    )
    return (wav.clamp(-1, 1) * 32767).round().to(torch.int16)


def mu_law(pcm):
    x = pcm.float() / 32768
    y = x.sign() * torch.log1p(255 * x.abs()) / math.log(256)
    return ((y + 1) / 2 * (CLASSES - 1) + 0.5).long()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    clips, held_out = notes(600, 161, g), notes(100, 161, g)
    model = WaveNet()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98))

    def prepare(pcm):
        wav = pcm.float()
        if fixed:
            wav = wav / 32768
        return wav[:, :-1], mu_law(pcm[:, 1:])

    curve = []
    with observe(model, opt):
        for step in range(450):
            x, y = prepare(clips[torch.randint(len(clips), (8,), generator=g)])
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = prepare(held_out)
        metric = F.cross_entropy(model(x)[..., 40:], y[..., 40:]).item()
    return {"metric": metric, "better": "lower", "curve": curve}
