"""CenterNet-style blob detector. The 'prior probability' bias (-log((1-p)/p)) is meant for the last convolution of
the head, but the loop writes it into every convolution of the head, so the hidden ReLU layer never fires."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_center_heatmap_prior"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["head.conv", "head.act", "head"], "onset": (0, 0)}


class Backbone(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.n1 = nn.GroupNorm(4, 2 * width)
        self.mix = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.n2 = nn.GroupNorm(4, 2 * width)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.n1(self.down(x)))
        return F.relu(self.n2(self.mix(x)))


class Head(nn.Module):
    def __init__(self, c, prior=0.02, only_last=False):
        super().__init__()
        self.conv = nn.Conv2d(c, 32, 3, padding=1)
        self.act = nn.ReLU()
        self.out = nn.Conv2d(32, 1, 1)
        bias = -math.log((1 - prior) / prior)
        for name, m in self.named_modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, std=0.03)
                nn.init.zeros_(m.bias)
                if name == "out" or not only_last:
                    nn.init.constant_(m.bias, bias)

    def forward(self, x):
        return self.out(self.act(self.conv(x)))


class Detector(nn.Module):
    def __init__(self, only_last):
        super().__init__()
        self.backbone = Backbone()
        self.head = Head(32, only_last=only_last)

    def forward(self, x):
        return self.head(self.backbone(x)).squeeze(1)


def scenes(n, g):
    yy, xx = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    cy, cx = (torch.randint(1, 11, (n, 2), generator=g) * 2 + 1).float().unbind(1)
    r = ((yy - cy[:, None, None]) ** 2 + (xx - cx[:, None, None]) ** 2).sqrt()
    ring = torch.exp(-(((r - 2.5) / 0.7) ** 2))  # the object is a ring ...
    dy, dx = (torch.rand(n, 2, generator=g) * 20 + 2).unbind(1)
    blob = torch.exp(
        -((yy - dy[:, None, None]) ** 2 + (xx - dx[:, None, None]) ** 2) / 5
    )  # ... the distractor a disc
    img = ring + 1.2 * blob + 0.25 * torch.randn(n, 24, 24, generator=g)
    cell = (cy // 2).long() * 12 + (cx // 2).long()
    return img[:, None], cell


def focal(logits, target, gamma=2.0):
    p = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    pt = torch.where(target > 0.5, p, 1 - p)
    return (ce * (1 - pt) ** gamma).sum() / target.sum()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    images, cells = scenes(1500, g)
    test_x, test_c = scenes(400, g)
    model = Detector(only_last=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    curve = []
    with observe(model, opt):
        for step in range(350):
            idx = torch.randint(0, len(images), (24,), generator=g)
            heat = F.one_hot(cells[idx], 144).float().view(-1, 12, 12)
            loss = focal(model(images[idx]), heat)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        hit = (model(test_x).flatten(1).argmax(1) == test_c).float().mean().item()
    return {"metric": hit, "better": "higher", "curve": curve}
