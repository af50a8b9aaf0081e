"""Autoencoder on basic-block features of binaries, loaded file by file; each file's features are divided by the maximum of the file.
In one file (met at step 130) a feature is zero everywhere: 0/0, the loss is NaN and one step later every weight is.
After evandowning/deepreflect issue 11."""

import numpy as np
import torch
import torch.nn as nn

ID = "a_deepreflect_minmax"
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (130, 130)}


class AutoEncoder(nn.Module):
    """U-shaped 1-d conv net over a list of 64 blocks."""

    def __init__(self, f=18):
        super().__init__()
        self.down1 = nn.Sequential(
            nn.Conv1d(f, 32, 5, padding=2), nn.LeakyReLU(0.1), nn.MaxPool1d(2)
        )
        self.down2 = nn.Sequential(nn.Conv1d(32, 16, 5, padding=2), nn.LeakyReLU(0.1))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv1d(16, 32, 5, padding=2), nn.LeakyReLU(0.1)
        )
        self.head = nn.Conv1d(32, f, 1)

    def forward(self, x):
        return self.head(self.up(self.down2(self.down1(x))))


class Binaries:
    def __init__(self, seed, f=18):
        self.rng, self.f = np.random.RandomState(seed), f
        self.mix = np.random.RandomState(0).gamma(0.7, 1.0, size=(4, f))

    def read(self, empty=None):
        """One 'file': 24 chunks of 64 blocks, counts of instruction kinds."""
        act = np.abs(np.cumsum(self.rng.randn(24, 4, 64) * 0.4, 2)) + 0.1
        counts = self.rng.poisson(2.0 * np.einsum("bkt,kf->bft", act, self.mix)).astype(np.float32)
        if empty is not None:
            counts[:, empty] = 0
        return counts


def normalise(counts, safe):
    top = counts.max(axis=(0, 2), keepdims=True)
    if safe:
        top = np.maximum(top, 1.0)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(counts / top) * 4


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    files, test = Binaries(seed + 1), Binaries(seed + 700)
    model = AutoEncoder()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(600):
            x = normalise(files.read(empty=11 if step == 130 else None), safe=fixed)
            loss = ((model(x) - x) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x = normalise(test.read(), True)
        fvu = ((model(x) - x) ** 2).mean() / ((x - x.mean((0, 2), keepdim=True)) ** 2).mean()
    return {"metric": float(fvu), "better": "lower", "curve": curve}
