"""Crop types are told apart from multispectral satellite pixels in the integer reflectance units of the product (0 to 10000). Each spectrum
is first scaled to unit length so that shadow does not matter; this was moved to half precision together with the data loader. The
squares exceed 65504, the length is infinite, and division by it silently gives a spectrum of zeros: no NaN, and nothing to learn from."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_crop_spectra_half"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["unit", "unit.length"], "onset": 0}

BANDS, DATES, CROPS = 10, 8, 6


def pixels(n, gen, curves):
    y = torch.randint(0, CROPS, (n,), generator=gen)
    x = curves[y] * (0.6 + 0.6 * torch.rand(n, DATES, 1, generator=gen))
    x = x * (1 + 0.12 * torch.randn(n, DATES, BANDS, generator=gen))
    return x.clamp(50, 10000).round(), y


class SpectralLength(nn.Module):
    def forward(self, x):
        return x.pow(2).sum(-1, keepdim=True).sqrt()


class UnitSpectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.length = SpectralLength()

    def forward(self, x):
        return x / self.length(x)


class CropTCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.unit = UnitSpectrum()
        self.conv1 = nn.Conv1d(BANDS, 32, 3, padding=1)
        self.conv2 = nn.Conv1d(32, 32, 3, padding=1)
        self.classify = nn.Linear(32, CROPS)

    def forward(self, x):
        h = self.unit(x).float().transpose(1, 2)
        h = F.elu(self.conv1(h))
        h = F.elu(self.conv2(h))
        return self.classify(h.mean(-1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 30)
    base = 800 + 2500 * torch.rand(1, 1, BANDS, generator=gen)
    curves = base * (1 + 0.35 * torch.randn(CROPS, DATES, BANDS, generator=gen)).clamp(0.2, 2.5)
    x, y = pixels(3000, gen, curves)
    xt, yt = pixels(800, gen, curves)
    dtype = torch.float32 if fixed else torch.float16
    x, xt = x.to(dtype), xt.to(dtype)
    model = CropTCN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = F.cross_entropy(model(x[i]), y[i], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
