"""Healthy: an image classifier with mixup and label smoothing. As asked in github.com/winycg/HCGNet issue 2 ('Why test accuracy reaches high
as 90% while the train accuracy is about 50%?'), the training loss never goes below what blended labels allow and varies with the drawn
mixing weight, while the test accuracy is excellent.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ID = "a_leaves_mixup"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def conv_block(cin, cout, stride):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.SiLU()
    )


class TinyNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.stage1, self.stage2 = (
            conv_block(3, 12, 1),
            conv_block(12, 24, 2),
            conv_block(24, 32, 2),
        )
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        return self.fc(self.stage2(self.stage1(self.stem(x))).mean((2, 3)))


def leaves(n, rng):
    y = rng.integers(0, 8, n)
    yy, xx = np.mgrid[-1:1:16j, -1:1:16j]
    out = np.zeros((n, 3, 16, 16), np.float32)
    for i, k in enumerate(y):
        th = rng.uniform(0, 2 * np.pi)
        r, a = np.hypot(yy, xx), np.arctan2(yy, xx) + th
        edge = 0.6 + 0.25 * np.cos((2 + k % 4) * a)
        mask = (r < edge).astype(np.float32)
        colour = np.array([0.3, 0.9, 0.3]) if k < 4 else np.array([0.9, 0.6, 0.2])
        out[i] = mask * colour[:, None, None] + rng.normal(0, 0.15, (3, 16, 16))
    return torch.from_numpy((out - 0.25) / 0.35), torch.from_numpy(y)


def mixup_loss(model, x, y, rng, alpha=1.0):
    lam = float(rng.beta(alpha, alpha))
    perm = torch.from_numpy(rng.permutation(len(x)))
    logits = model(lam * x + (1 - lam) * x[perm])
    return lam * F.cross_entropy(logits, y, label_smoothing=0.1) + (1 - lam) * F.cross_entropy(
        logits, y[perm], label_smoothing=0.1
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 2)
    x, y = leaves(1500, rng)
    xv, yv = leaves(400, rng)
    model = TinyNet(8)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps, batch = 420, 50
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    curve = []
    with observe(model, optimizer):
        for step in range(steps):
            idx = torch.from_numpy(rng.integers(0, len(x), batch))
            loss = mixup_loss(model, x[idx], y[idx], rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
