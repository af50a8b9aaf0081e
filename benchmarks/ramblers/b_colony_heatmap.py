"""One-stage detector of bacterial colonies: heat map with focal loss, a two-convolution tower before the classifier.
Bug: the prior bias -log((1-p)/p) that belongs to the last convolution only is written to every convolution of the head in the
init loop, so the ReLUs of the tower never fire."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_colony_heatmap"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": ["head.tower.0", "head.tower.2", "head.tower.1", "head.tower.3"],
    "onset": (0, 0),
}


def plates(n, g, S=32):
    img = 0.3 * torch.randn(n, 1, S, S, generator=g)
    heat = torch.zeros(n, 1, S // 4, S // 4)
    yy, xx = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")
    for i in range(n):
        for j in range(int(torch.randint(1, 5, (1,), generator=g))):
            cy, cx = (torch.rand(2, generator=g) * (S - 6) + 3).tolist()
            r = 1.2 + 1.3 * float(torch.rand((), generator=g))
            d2 = (yy - cy) ** 2 + (xx - cx) ** 2
            ring = j % 2 == 1  # rings are dust, not colonies
            img[i, 0] += (
                torch.exp(-d2 / (2 * r * r)) if not ring else torch.exp(-((d2.sqrt() - 2.5) ** 2))
            )
            if not ring:
                heat[i, 0, int(cy) // 4, int(cx) // 4] = 1
    return img, heat


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU()
        )
        self.cls = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, f):
        return self.cls(self.tower(f))


class Detector(nn.Module):
    def __init__(self, fixed, c=16):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, c, 3, stride=2, padding=1),
            nn.GroupNorm(4, c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.GroupNorm(4, c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, stride=2, padding=1),
            nn.GroupNorm(4, c),
            nn.ReLU(),
        )
        self.head = Head(c)
        prior = 0.02
        for m in self.head.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
                last = m is self.head.cls
                nn.init.constant_(
                    m.bias, -math.log((1 - prior) / prior) if last or not fixed else 0.0
                )
        nn.init.normal_(self.head.cls.weight, std=0.01)

    def forward(self, x):
        return self.head(self.body(x))


def focal(logit, y, alpha=0.5, gamma=2.0):
    p = torch.sigmoid(logit)
    ce = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    pt = p * y + (1 - p) * (1 - y)
    w = alpha * y + (1 - alpha) * (1 - y)
    return (w * (1 - pt) ** gamma * ce).sum() / y.sum().clamp(min=1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    X, H = plates(500, g)
    Xt, Ht = plates(250, g)
    model = Detector(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=450)
    curve = []
    with observe(model, opt):
        for step in range(450):
            i = torch.randint(0, len(X), (24,), generator=g)
            loss = focal(model(X[i]), H[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        s = model(Xt).flatten()
        h = Ht.flatten()
        order = s.argsort(descending=True)
        hit = h[order]
        prec = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
        ap = ((prec * hit).sum() / hit.sum()).item()
    return {"metric": ap, "better": "higher", "curve": curve}
