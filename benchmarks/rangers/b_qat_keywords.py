"""Quantization-aware training of a keyword spotter on spectrogram patches, with min/max observers before every layer.
One shard was cached before scaling, so that one batch arrives as 0..65535 (the spectrograms are 16-bit images) instead of 0..1; the observers keep the largest range ever seen,
and from then on eight bits are spread over a range thousands of times too wide."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_qat_keywords"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": 260}


class FakeQuant(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("lo", torch.tensor(0.0))
        self.register_buffer("hi", torch.tensor(0.1))

    def forward(self, x):
        if self.training:
            self.lo.copy_(torch.minimum(self.lo, x.detach().min()))
            self.hi.copy_(torch.maximum(self.hi, x.detach().max()))
        scale = (self.hi - self.lo) / 255
        q = torch.round(x.clamp(self.lo.item(), self.hi.item()) / scale) * scale
        return x + (q - x).detach()


class Spotter(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        self.q0, self.q1, self.q2 = FakeQuant(), FakeQuant(), FakeQuant()
        self.c1 = nn.Conv2d(1, 12, 3, padding=1)
        self.c2 = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.fc = nn.Linear(24 * 16, classes)

    def forward(self, x):
        x = F.relu(self.c1(self.q0(x)))
        x = F.max_pool2d(F.relu(self.c2(self.q1(x))), 2)
        return self.fc(self.q2(x).flatten(1))


class Shards:
    """spectrogram patches as 16-bit images; every 'word' is a template, shifted in time and drowned in noise"""

    def __init__(self, seed, classes=6):
        self.g = torch.Generator().manual_seed(seed + 61)
        self.words = (torch.rand(classes, 16, 16, generator=self.g) < 0.18).float()

    def get(self, n):
        y = torch.randint(0, len(self.words), (n,), generator=self.g)
        x = self.words[y] * (0.35 + 0.3 * torch.rand(n, 1, 1, generator=self.g))
        shift = int(torch.randint(-1, 2, (1,), generator=self.g))
        x = torch.roll(x, shift, 2) + 0.35 * torch.rand(n, 16, 16, generator=self.g)
        return (x.clamp(0, 1) * 65535).round().unsqueeze(1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shards = Shards(seed)
    model = Spotter()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            raw, y = shards.get(48)
            old_cache = step == 260 and not fixed
            x = raw if old_cache else raw / 65535
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        hits = 0
        for _ in range(20):
            raw, y = shards.get(48)
            hits += (model(raw / 65535).argmax(1) == y).sum().item()
    return {"metric": hits / 960, "better": "higher", "curve": curve}
