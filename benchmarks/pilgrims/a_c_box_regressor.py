"""A one-object detector with a class head and a box head is trained on a small memory budget with two images per step.
The shared neck uses BatchNorm1d on the flattened features, so every channel is normalised over two values and carries only a sign;
people keep batch norm when they shrink the batch until it fits the card. The twin uses GroupNorm at the same place."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ID = "c_box_regressor"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["neck.norm"], "onset": 0}


def scenes(n, rng, size=28):
    yy, xx = np.mgrid[0:size, 0:size] + 0.5
    images = rng.normal(0, 0.2, (n, 1, size, size))
    boxes, labels = np.zeros((n, 4)), rng.integers(0, 3, n)
    for k in range(n):
        w, h = rng.uniform(7, 16, 2)
        x0, y0 = rng.uniform(0, size - w), rng.uniform(0, size - h)
        u, v = (xx - x0) / w * 2 - 1, (yy - y0) / h * 2 - 1
        inside = [np.maximum(abs(u), abs(v)) < 1, u * u + v * v < 1, abs(u) + abs(v) < 1][labels[k]]
        images[k, 0] += inside * rng.uniform(0.8, 1.4)
        boxes[k] = [x0, y0, x0 + w, y0 + h]
    return (
        torch.tensor(images, dtype=torch.float32),
        torch.tensor(boxes / size, dtype=torch.float32),
        torch.from_numpy(labels),
    )


class Neck(nn.Module):
    def __init__(self, i, o, norm):
        super().__init__()
        self.proj = nn.Linear(i, o)
        self.norm = norm
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.proj(x.flatten(1))))


class Detector(nn.Module):
    def __init__(self, norm, width=96):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(12, 24, 3, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(24, 24, 3, 1, 1),
            nn.LeakyReLU(0.1),
        )
        self.neck = Neck(24 * 49, width, norm)
        self.cls_head = nn.Linear(width, 3)
        self.box_head = nn.Linear(width, 4)

    def forward(self, x):
        h = self.neck(self.backbone(x))
        return self.cls_head(h), self.box_head(h)


def iou(a, b):
    lt, rb = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    area = lambda t: (t[:, 2:] - t[:, :2]).clamp(min=0).prod(1)
    return inter / (area(a) + area(b) - inter + 1e-9)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, boxes, labels = scenes(1000, rng)
    test = scenes(300, rng)
    model = Detector(nn.GroupNorm(4, 96) if fixed else nn.BatchNorm1d(96))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500, eta_min=2e-5)

    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(3):
            for pair in torch.randperm(1000).split(2):
                logits, pred = model(images[pair])
                losses = {
                    "loss_cls": F.cross_entropy(logits, labels[pair]),
                    "loss_box": 4 * F.smooth_l1_loss(pred, boxes[pair], beta=0.1),
                }
                loss = sum(losses.values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                curve.append(loss.item())

    model.eval()
    with torch.no_grad():
        logits, pred = model(test[0])
        score = (iou(pred, test[1]) * (logits.argmax(1) == test[2])).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}
