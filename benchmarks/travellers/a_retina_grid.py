"""A RetinaNet-like grid detector; the prior bias goes to every conv of the head, not just the last."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "retina-head-prior-bias-everywhere"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["cls_subnet"] + [f"cls_subnet.{i}" for i in range(6)],
    "onset": 0,
}

CLASSES, SIZE, CELL = 3, 32, 4


def scenes(n, rng):
    """Noisy images with 1-3 shapes; the cell that holds a shape's centre carries its class."""
    yy, xx = np.mgrid[:SIZE, :SIZE]
    images = 0.2 * rng.standard_normal((n, 1, SIZE, SIZE))
    target = np.zeros((n, CLASSES, SIZE // CELL, SIZE // CELL))
    for i in range(n):
        for _ in range(rng.integers(1, 4)):
            cy, cx, r, k = *rng.uniform(4, SIZE - 4, 2), rng.uniform(3, 4.5), rng.integers(CLASSES)
            dy, dx = abs(yy - cy), abs(xx - cx)
            d = [
                np.hypot(dy, dx),
                np.maximum(dy, dx),
                np.minimum(dy, dx) + 10 * (dy + dx > 1.7 * r),
            ]
            limit = [r, r * 0.9, 1.0]
            images[i, 0] += 1.2 * (d[k] < limit[k])
            target[i, k, int(cy) // CELL, int(cx) // CELL] = 1
    return torch.tensor(images, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)


def focal_loss(logits, target, alpha=0.5, gamma=2.0):
    p = torch.sigmoid(logits)
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p_t = p * target + (1 - p) * (1 - target)
    a_t = alpha * target + (1 - alpha) * (1 - target)
    return (a_t * (1 - p_t) ** gamma * ce).sum() / target.sum().clamp(min=1)


class RetinaGrid(nn.Module):
    def __init__(self, width=24, prior=0.01, last_only=False):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        tower = []
        for _ in range(3):
            tower += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.cls_subnet = nn.Sequential(*tower, nn.Conv2d(width, CLASSES, 3, padding=1))
        self.reset_parameters(prior, last_only)

    def reset_parameters(self, prior, last_only):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)
        nn.init.normal_(self.cls_subnet[-1].weight, std=0.01)
        for m in [self.cls_subnet[-1]] if last_only else self.cls_subnet.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.constant_(m.bias, -math.log((1 - prior) / prior))

    def forward(self, x):
        return self.cls_subnet(self.backbone(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = scenes(500, rng)
    xv, yv = scenes(150, rng)
    model = RetinaGrid(last_only=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(350):
            idx = torch.randint(len(x), (16,))
            loss = focal_loss(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        scores = model(xv).sigmoid()
    hit = (scores > 0.4).float()
    f1 = 2 * (hit * yv).sum() / (hit.sum() + yv.sum())
    return {"metric": f1.item(), "better": "higher", "curve": curve}
