"""Segmentation of speckled radar images into water, floe ice and pressure ridges. The polynomial decay comes from a DeepLab code base; when
the command-line arguments were removed, the base rate was taken from the optimizer itself, so every iteration decays the rate
already decayed and after some dozens of iterations nothing is left of it."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ice_floes"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 60)}


def scene(rng, n, size=24):
    yy, xx = np.mgrid[0:size, 0:size]
    img = np.zeros((n, 1, size, size), np.float32)
    lab = np.zeros((n, size, size), np.int64)
    for i in range(n):
        m = np.zeros((size, size), np.int64)
        for _ in range(rng.integers(2, 5)):
            cy, cx = rng.uniform(0, size, 2)
            a, b, t = rng.uniform(4, 9), rng.uniform(4, 7), rng.uniform(0, np.pi)
            u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
            v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
            m[(u / a) ** 2 + (v / b) ** 2 < 1] = 1
        t, o = rng.uniform(0, np.pi), rng.uniform(6, 18)
        d = np.abs((xx - size / 2) * np.cos(t) + (yy - size / 2) * np.sin(t) - (o - size / 2) * 0.6)
        m[(d < 1.8) & (m == 1)] = 2
        base = np.array([0.55, 1.0, 2.2])[m]
        tex = 0.25 * np.sin(1.9 * xx + rng.uniform(0, 6)) * (m == 0)
        img[i, 0] = np.log((base + tex).clip(0.05) * rng.gamma(4.0, 0.25, (size, size)) + 1e-3)
        lab[i] = m
    return torch.from_numpy((img + 0.45) / 0.6), torch.from_numpy(lab)


class ASPPLite(nn.Module):
    def __init__(self, c=12, classes=3):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU()
        )
        self.rates = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(c, c, 3, padding=r, dilation=r, bias=False),
                    nn.BatchNorm2d(c),
                    nn.ReLU(),
                )
                for r in (1, 2, 4)
            ]
        )
        self.project = nn.Sequential(
            nn.Conv2d(3 * c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU()
        )
        self.classifier = nn.Conv2d(c, classes, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.classifier(self.project(torch.cat([r(x) for r in self.rates], 1)))


def mean_iou(model, x, y):
    model.eval()
    with torch.no_grad():
        p = model(x).argmax(1)
    return float(
        np.mean(
            [
                ((p == c) & (y == c)).sum().item() / max(1, ((p == c) | (y == c)).sum().item())
                for c in range(3)
            ]
        )
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = scene(rng, 300)
    xv, yv = scene(rng, 60)
    model = ASPPLite()
    base_lr, max_iter, power, bs = 0.0015, 600, 0.9, 8
    optimizer = torch.optim.SGD(model.parameters(), lr=base_lr, momentum=0.9, weight_decay=5e-4)

    def adjust_learning_rate(it):
        for group in optimizer.param_groups:
            start = base_lr if fixed else group["lr"]
            group["lr"] = start * (1 - it / max_iter) ** power

    curve = []
    with observe(model, optimizer):
        for it in range(max_iter):
            adjust_learning_rate(it)
            idx = torch.from_numpy(rng.integers(0, len(x), bs))
            loss = F.cross_entropy(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": mean_iou(model, xv, yv), "better": "higher", "curve": curve}
