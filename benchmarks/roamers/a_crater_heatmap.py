"""Anchor-free detection of crater centres on elevation tiles: a stack of convolutions, a heat map, focal loss. The prior bias of -log(99)
that RetinaNet puts on its last layer is set in the module-wide init loop on every convolution, so the hidden ReLUs lie far below zero for
every tile."""

import math

import numpy as np
import torch
import torch.nn as nn

ID = "a_crater_heatmap"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["body.0", "body.1", "body.2", "body.3", "body.4", "body.5"],
    "onset": 0,
}

S = 24


def tiles(rng, n):
    yy, xx = np.mgrid[0:S, 0:S].astype(np.float32)
    dem = np.zeros((n, S, S), np.float32)
    heat = np.zeros((n, S, S), np.float32)
    for k in range(n):
        dem[k] = rng.normal(0, 0.06) * yy + rng.normal(0, 0.06) * xx + rng.normal(0, 0.25, (S, S))
        for _ in range(rng.integers(1, 4)):
            cy, cx = rng.integers(3, S - 3, 2)
            r = rng.uniform(2, 3.5)
            d = np.hypot(yy - cy, xx - cx)
            dem[k] += 1.3 * np.exp(-(((d - r) / 0.8) ** 2)) - 1.0 * (d < r - 0.5)
            heat[k, cy, cx] = 1
        for _ in range(2):  # hills, no craters
            cy, cx = rng.integers(3, S - 3, 2)
            dem[k] += 1.3 * np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / 8)
    dem = (dem - dem.mean()) / dem.std()
    return torch.from_numpy(dem)[:, None], torch.from_numpy(heat)


class HeatmapNet(nn.Module):
    def __init__(self, c=16, prior=0.01, whole=True):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, c, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.ReLU(),
        )
        self.heat = nn.Conv2d(c, 1, 1)
        for m in self.modules() if whole else [self.heat]:
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")
                nn.init.constant_(m.bias, -math.log((1 - prior) / prior))

    def forward(self, x):
        return self.heat(self.body(x))[:, 0]


def focal_loss(logits, target, alpha=0.75, gamma=2.0):
    p = logits.sigmoid()
    ce = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    pt = p * target + (1 - p) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - pt) ** gamma * ce).sum() / target.sum()


def average_precision(score, truth):
    t = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(t) / np.arange(1, len(t) + 1))[t > 0].mean())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dem, heat = tiles(rng, 800)
    vdem, vheat = tiles(rng, 150)
    model = HeatmapNet(whole=not fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [300, 380], gamma=0.1)

    def step():
        i = rng.integers(0, len(dem), 16)
        loss = focal_loss(model(dem[i]), heat[i])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        return loss.item()

    with observe(model, optimizer):
        curve = [step() for _ in range(420)]
    with torch.no_grad():
        s = model(vdem).flatten().numpy()
    return {
        "metric": average_precision(s, vheat.flatten().numpy()),
        "better": "higher",
        "curve": curve,
    }
