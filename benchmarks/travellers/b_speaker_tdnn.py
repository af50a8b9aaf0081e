"""Speaker identification with a TDNN and mean/std statistics pooling; one clip that silence
trimming cut down to a single frame has zero variance, where the square root has no gradient."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "speaker-tdnn-stats-pooling-one-frame"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["pool"], "onset": 137}

BANDS, SPEAKERS, STEPS, BATCH = 20, 12, 320, 48
ONE_FRAME_CLIP = 137 * BATCH + 5


class Corpus:
    """Every speaker has a mean spectrum and a characteristic modulation; clips differ in length."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.timbre = torch.randn(SPEAKERS, BANDS, generator=self.gen) * 0.35
        self.mixing = torch.randn(SPEAKERS, BANDS, 4, generator=self.gen) * 0.5
        self.rate = 0.2 + torch.rand(SPEAKERS, 4, generator=self.gen)

    def clip(self, speaker, frames):
        t = torch.arange(frames).float()
        phase = torch.rand(4, 1, generator=self.gen) * 6.28
        carrier = torch.sin(self.rate[speaker][:, None] * t + phase)
        noise = torch.randn(BANDS, frames, generator=self.gen)
        return self.timbre[speaker][:, None] + self.mixing[speaker] @ carrier + noise

    def batch(self, n, first=None):
        speakers = torch.randint(0, SPEAKERS, (n,), generator=self.gen)
        frames = torch.randint(20, 50, (n,), generator=self.gen)
        if first is not None and first <= ONE_FRAME_CLIP < first + n:
            frames[ONE_FRAME_CLIP - first] = 1
        x = torch.zeros(n, BANDS, int(frames.max()))
        for i in range(n):
            x[i, :, : frames[i]] = self.clip(speakers[i], int(frames[i]))
        return x, frames, speakers


class StatsPool(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.floor = floor

    def forward(self, h, frames):
        mask = (torch.arange(h.shape[-1])[None] < frames[:, None]).unsqueeze(1).float()
        count = frames[:, None].float()
        mean = (h * mask).sum(-1) / count
        var = ((h - mean.unsqueeze(-1)).pow(2) * mask).sum(-1) / count
        return torch.cat([mean, (var + self.floor).sqrt()], dim=1)


class XVector(nn.Module):
    def __init__(self, floor, width=40):
        super().__init__()
        self.frame1 = nn.Conv1d(BANDS, width, 5, padding=2)
        self.frame2 = nn.Conv1d(width, width, 3, padding=2, dilation=2)
        self.frame3 = nn.Conv1d(width, width, 1)
        self.pool = StatsPool(floor)
        self.segment = nn.Linear(2 * width, 48)
        self.speakers = nn.Linear(48, SPEAKERS)

    def forward(self, x, frames):
        for layer in (self.frame1, self.frame2, self.frame3):
            x = F.leaky_relu(layer(x), 0.1)
        return self.speakers(F.leaky_relu(self.segment(self.pool(x, frames)), 0.1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    corpus = Corpus(seed + 5)
    model = XVector(floor=1e-4 if fixed else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(STEPS):
            x, frames, speakers = corpus.batch(BATCH, first=step * BATCH)
            loss = F.cross_entropy(model(x, frames), speakers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, frames, speakers = corpus.batch(600)
        accuracy = (model(x, frames).argmax(-1) == speakers).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
