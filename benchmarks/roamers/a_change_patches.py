"""Siamese change detection on pairs of four-band satellite patches: has something been built between the two dates? The fusion head
normalises the pooled difference vector with GroupNorm, and the number of groups was given as the number of channels (as one does in the
encoder to get instance norm). On a 1x1 map each group then holds one single value and the norm returns its bias for every pair."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_change_patches"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["fusion.norm"], "onset": 0}


def pairs(rng, n, size=16):
    base = rng.normal(0, 1, (n, 4, 4, 4)).repeat(4, 2).repeat(4, 3)
    before = base + rng.normal(0, 0.3, (n, 4, size, size))
    season = rng.normal(0, 0.5, (n, 4, 1, 1))
    after = base + season + rng.normal(0, 0.3, (n, 4, size, size))
    label = rng.integers(0, 2, n)
    for k in range(n):
        h, w = rng.integers(3, 6, 2)
        y, x = rng.integers(0, size - h), rng.integers(0, size - w)
        block = np.array([1.0, 0.8, 1.2, -0.8])[:, None, None]
        after[k, :, y : y + h, x : x + w] += block
        if label[k] == 0:  # it stood there already
            before[k, :, y : y + h, x : x + w] += block
    return (
        torch.tensor(before, dtype=torch.float32),
        torch.tensor(after, dtype=torch.float32),
        torch.tensor(label, dtype=torch.float32),
    )


class Encoder(nn.Sequential):
    def __init__(self, c):
        super().__init__(
            nn.Conv2d(4, c, 3, padding=1),
            nn.GELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(c, c, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(c, c, 3, padding=1),
        )


class Fusion(nn.Module):
    def __init__(self, c, groups):
        super().__init__()
        self.proj = nn.Conv2d(2 * c, c, 1)
        self.norm = nn.GroupNorm(groups, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, a, b):
        d = a - b
        pooled = torch.cat([F.adaptive_max_pool2d(d, 1), F.adaptive_max_pool2d(-d, 1)], 1)
        return self.out(F.gelu(self.norm(self.proj(pooled)))).flatten()


class SiameseNet(nn.Module):
    def __init__(self, channels=24, norm_groups=24):
        super().__init__()
        self.encoder = Encoder(channels)
        self.fusion = Fusion(channels, norm_groups)

    def forward(self, before, after):
        return self.fusion(self.encoder(before), self.encoder(after))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    before, after, label = pairs(rng, 1600)
    vb, va, vl = pairs(rng, 400)
    net = SiameseNet(norm_groups=4 if fixed else 24)
    opt = torch.optim.NAdam(net.parameters(), lr=2e-3)
    criterion = nn.BCEWithLogitsLoss()
    curve = []
    with observe(net, opt):
        for epoch in range(10):
            for idx in np.array_split(rng.permutation(len(label)), 50):
                opt.zero_grad()
                loss = criterion(net(before[idx], after[idx]), label[idx])
                loss.backward()
                opt.step()
                curve.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = ((net(vb, va) > 0).float() == vl).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
