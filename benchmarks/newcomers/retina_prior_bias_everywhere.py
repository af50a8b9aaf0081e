"""RetinaNet-like head with focal loss; the prior bias -log(99) is set on every conv of the tower, not on the last only."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "retina-prior-bias-everywhere"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["tower"] + [f"tower.{i}" for i in range(6)],
    "onset": (0, 1),
}


def scenes(n, g, s=24, cells=6):
    """Up to three objects of three kinds; target: one-hot class map at stride 4."""
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    img = 0.3 * torch.randn(n, 3, s, s, generator=g)
    tgt = torch.zeros(n, 3, cells, cells)
    for k in range(3):
        cx, cy = (2 + (s - 4) * torch.rand(n, generator=g) for _ in range(2))
        kind = torch.randint(0, 3, (n,), generator=g)
        there = torch.rand(n, generator=g) < 0.7
        dx, dy = xx - cx[:, None, None], yy - cy[:, None, None]
        disk = (dx**2 + dy**2 < 6).float()
        ring = ((dx**2 + dy**2) ** 0.5 - 2.4).abs() < 0.8
        cross = ((dx.abs() < 0.8) | (dy.abs() < 0.8)) & (dx**2 + dy**2 < 8)
        m = torch.stack([disk, ring.float(), cross.float()])[kind, torch.arange(n)]
        tint = 0.5 + torch.rand(n, 3, 1, 1, generator=g)
        img = img + there[:, None, None, None] * m[:, None] * tint
        w = torch.arange(n)[there]
        tgt[w, kind[there], (cy[there] / 4).long(), (cx[there] / 4).long()] = 1
    return img, tgt


class Detector(nn.Module):
    def __init__(self, c=24, fixed=False):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, stride=2),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, c, 3, padding=1, stride=2),
            nn.GroupNorm(4, c),
            nn.ReLU(),
        )
        tower = []
        for _ in range(3):
            tower += [nn.Conv2d(c, c, 3, padding=1), nn.ReLU()]
        self.tower = nn.Sequential(*tower)
        self.cls = nn.Conv2d(c, 3, 3, padding=1)
        prior = -math.log((1 - 0.01) / 0.01)
        for m in self.tower:
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.constant_(m.bias, 0.0 if fixed else prior)
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.constant_(self.cls.bias, prior)

    def forward(self, x):
        return self.cls(self.tower(self.stem(x)))


def focal(logits, y, alpha=0.25, gamma=2.0):
    ce = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    p = logits.sigmoid()
    pt = p * y + (1 - p) * (1 - y)
    a = alpha * y + (1 - alpha) * (1 - y)
    return (a * (1 - pt) ** gamma * ce).sum() / y.sum().clamp(min=1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    x, y = scenes(512, g)
    xv, yv = scenes(200, g)
    det = Detector(fixed=fixed)
    opt = torch.optim.AdamW(det.parameters(), lr=1e-3, weight_decay=1e-4)
    curve = []
    with observe(det, opt):
        for step in range(350):
            i = torch.randint(0, len(x), (24,), generator=g)
            opt.zero_grad(set_to_none=True)
            loss = focal(det(x[i]), y[i])
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        score, hit = det(xv).flatten(), yv.flatten()
    hit = hit[score.argsort(descending=True)]
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return {
        "metric": ((precision * hit).sum() / hit.sum()).item(),
        "better": "higher",
        "curve": curve,
    }
