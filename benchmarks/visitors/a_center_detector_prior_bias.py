"""A CenterNet-like detector with the focal-loss prior: the helper sets the prior bias of -4.6 on every
convolution of the head instead of the last one only, and the ReLUs between them never fire."""

import math

import torch
from torch import nn
from torch.nn import functional as F

ID = "center-detector-prior-bias"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["tower", "tower.0", "tower.1", "tower.2", "tower.3", "tower.4", "tower.5"],
    "onset": 0,
}
SIZE, STRIDE = 32, 4


def scenes(n, g):
    """Bright discs (the objects) among bars (no objects); a heat map marks the disc centres."""
    yy, xx = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = 0.2 * torch.randn(n, 1, SIZE, SIZE, generator=g)
    m = SIZE // STRIDE
    cy, cx = torch.meshgrid(torch.arange(m), torch.arange(m), indexing="ij")
    heat = torch.zeros(n, m, m)
    for i in range(n):
        for _ in range(int(torch.randint(1, 4, (1,), generator=g))):
            y, x = torch.randint(3, SIZE - 3, (2,), generator=g).tolist()
            images[i, 0] += ((yy - y) ** 2 + (xx - x) ** 2 <= 9).float()
            d2 = (cy - y // STRIDE) ** 2 + (cx - x // STRIDE) ** 2
            heat[i] = torch.maximum(heat[i], torch.exp(-d2 / 0.5))
        y, x = torch.randint(2, SIZE - 10, (2,), generator=g).tolist()
        images[i, 0, y : y + 2, x : x + 10] += 1.0
    return images / 0.4, heat


class Detector(nn.Module):
    def __init__(self, c=24, tower_depth=3):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, c, 3, 2, 1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.Conv2d(2 * c, 2 * c, 3, 1, 1, bias=False),
            nn.BatchNorm2d(2 * c),
        )
        tower = []
        for _ in range(tower_depth):
            tower += [nn.Conv2d(2 * c, 2 * c, 3, padding=1), nn.ReLU()]
        self.tower = nn.Sequential(*tower)
        self.cls_logits = nn.Conv2d(2 * c, 1, 1)

    def init_head(self, prior=0.01, everywhere=True):
        for block in (self.tower, self.cls_logits):
            for m in block.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                    nn.init.zeros_(m.bias)
                    if everywhere or m is self.cls_logits:
                        nn.init.constant_(m.bias, -math.log((1 - prior) / prior))
        nn.init.normal_(self.cls_logits.weight, std=0.01)

    def forward(self, x):
        return self.cls_logits(self.tower(self.backbone(x)))[:, 0]


def focal(logits, heat, alpha=2, beta=4):
    p = torch.sigmoid(logits)
    pos = (heat > 0.99).float()
    hit = -F.logsigmoid(logits) * (1 - p) ** alpha * pos
    miss = -F.logsigmoid(-logits) * p**alpha * (1 - heat) ** beta * (1 - pos)
    return (hit + miss).sum() / pos.sum().clamp(min=1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, heat = scenes(900, g)
    model = Detector()
    model.init_head(everywhere=not fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(220):
            idx = torch.randint(0, 700, (16,), generator=g)
            loss = focal(model(x[idx]), heat[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        found, true = model(x[700:]).sigmoid() > 0.4, heat[700:] > 0.99
        f1 = 2 * (found & true).sum() / (found.sum() + true.sum())
    return {"metric": f1.item(), "better": "higher", "curve": curve}
