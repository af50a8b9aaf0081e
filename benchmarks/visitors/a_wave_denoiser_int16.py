"""A 1-D U-Net removes noise from audio clips; one recording in the stream was stored as int16 and is
used without division by 32768, which makes a single batch of training enormous."""

import math

import torch
from torch import nn

ID = "wave-denoiser-int16"
TRUTH = {"mechanisms": ["corrupted_batch", "stale_second_moment"], "layers": None, "onset": 45}
LENGTH = 256


def tones(n, g):
    t = torch.arange(LENGTH) / LENGTH
    wave = torch.zeros(n, LENGTH)
    for _ in range(3):
        f = 2 + 22 * torch.rand(n, 1, generator=g)
        phase = 2 * math.pi * torch.rand(n, 1, generator=g)
        a = 0.3 + 0.7 * torch.rand(n, 1, generator=g)
        c = torch.rand(n, 1, generator=g)
        wave += a * torch.sin(2 * math.pi * f * t + phase) * torch.exp(-((t - c) ** 2) / 0.1)
    return (wave / 2).clamp(-1, 1)


class Recordings:
    """A stream of clips from an archive; most of them are float, some came from PCM files."""

    def __init__(self, seed, normalise_pcm):
        self.g = torch.Generator().manual_seed(seed)
        self.normalise_pcm = normalise_pcm
        self.served = 0

    def decode(self, clip):
        if self.normalise_pcm and clip.dtype == torch.int16:
            return clip.float() / 32768
        return clip.float()

    def read(self):
        clip = tones(1, self.g)[0]
        if self.served == 1083:
            clip = (clip * 32767).to(torch.int16)
        self.served += 1
        return self.decode(clip)

    def batch(self, n):
        clean = torch.stack([self.read() for _ in range(n)])[:, None]
        return clean + 0.3 * torch.randn(clean.shape, generator=self.g), clean


def pair(i, o):
    return nn.Sequential(
        nn.Conv1d(i, o, 7, padding=3), nn.LeakyReLU(0.1), nn.Conv1d(o, o, 7, padding=3)
    )


class WaveUNet(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.enc1, self.enc2 = pair(1, c), pair(c, 2 * c)
        self.mid = pair(2 * c, 2 * c)
        self.dec2, self.dec1 = pair(4 * c, c), pair(2 * c, c)
        self.out = nn.Conv1d(c, 1, 1)
        self.act = nn.LeakyReLU(0.1)
        self.pool = nn.AvgPool1d(2)
        self.up = nn.Upsample(scale_factor=2, mode="linear", align_corners=False)

    def forward(self, x):
        a = self.act(self.enc1(x))
        b = self.act(self.enc2(self.pool(a)))
        m = self.act(self.mid(self.pool(b)))
        u = self.act(self.dec2(torch.cat([self.up(m), b], 1)))
        u = self.act(self.dec1(torch.cat([self.up(u), a], 1)))
        return self.out(u)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    stream = Recordings(seed, normalise_pcm=fixed)
    g = torch.Generator().manual_seed(seed + 999)
    test = tones(200, g)[:, None]
    noisy = test + 0.3 * torch.randn(test.shape, generator=g)
    model = WaveUNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(240):
            x, y = stream.batch(24)
            loss = (model(x) - y).abs().pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = ((model(noisy) - test) ** 2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
