"""Craters are found as peaks of a heat map with the focal loss. The prior of the RetinaNet paper, a bias of -log((1-p)/p), belongs to the
last convolution only; after a refactoring `init_weights` walks over every convolution, and with a bias of -4.6 no rectifier of the body ever opens."""

import math
import numpy as np
import torch
import torch.nn as nn

ID = "a_crater_centers"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["body.0", "body.2", "body.4"], "onset": 0}


def terrain(rng, n, size=24):
    yy, xx = np.mgrid[0:size, 0:size]
    img = rng.normal(0, 0.25, (n, size, size))
    heat = np.zeros((n, size, size))
    for i in range(n):
        img[i] += rng.normal(0, 0.4) * (xx / size - 0.5) + rng.normal(0, 0.4) * np.sin(
            yy / rng.uniform(2, 5)
        )
        for _ in range(rng.integers(1, 4)):
            cy, cx = rng.integers(4, size - 4, 2)
            r = rng.uniform(2, 3.5)
            d = np.hypot(yy - cy, xx - cx)
            shade = ((xx - cx) * 0.8 + (yy - cy) * 0.6) / r
            img[i] += np.exp(-(((d - r) / 0.9) ** 2)) * shade * 1.3
            heat[i, cy, cx] = 1
    return torch.tensor(img[:, None], dtype=torch.float32), torch.tensor(
        heat[:, None], dtype=torch.float32
    )


class CraterNet(nn.Module):
    def __init__(self, prior=0.01, only_last=False):
        super().__init__()
        self.prior = prior
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.heatmap = nn.Conv2d(16, 1, 1)
        self.init_weights([self.heatmap] if only_last else self.modules())

    def init_weights(self, modules):
        for m in modules:
            if isinstance(m, nn.Conv2d):
                nn.init.constant_(m.bias, -math.log((1 - self.prior) / self.prior))

    def forward(self, x):
        return self.heatmap(self.body(x))


def focal(logit, target, alpha=0.75, gamma=2.0):
    p = torch.sigmoid(logit)
    ce = nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    pt = p * target + (1 - p) * (1 - target)
    a = alpha * target + (1 - alpha) * (1 - target)
    return (a * (1 - pt) ** gamma * ce).sum() / target.sum().clamp(min=1)


def average_precision(score, target):
    order = torch.argsort(score.flatten(), descending=True, stable=True)
    hit = target.flatten()[order]
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / hit.sum())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 5)
    x, h = terrain(rng, 500)
    xt, ht = terrain(rng, 100)
    model = CraterNet(only_last=fixed)
    optimizer = torch.optim.NAdam(model.parameters(), lr=3e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            order = rng.permutation(500)
            for j in range(0, 500, 10):
                idx = torch.from_numpy(order[j : j + 10])
                optimizer.zero_grad()
                loss = focal(model(x[idx]), h[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        ap = average_precision(model(xt), ht)
    return {"metric": ap, "better": "higher", "curve": curve}
