"""One-stage detector in miniature (RetinaNet-like head, focal loss) on squares/discs in noise. The prior-probability bias
-log((1-pi)/pi) belongs to the last classification conv only; a loop over `modules()` puts it into every conv of the class tower, whose ReLUs
are then silent."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_retina_prior_bias"
TRUTH = {
    "mechanisms": ["dead_units"],
    "layers": [
        "cls_head.tower.0",
        "cls_head.tower.1",
        "cls_head.tower.2",
        "cls_head.tower.3",
        "cls_head.tower",
    ],
    "onset": (0, 0),
}


def scene(n, g, S=32, G=8):
    img = 0.3 * torch.randn(n, 1, S, S, generator=g)
    cls = torch.zeros(n, 2, G, G)
    box = torch.zeros(n, 1, G, G)
    yy, xx = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    for i in range(n):
        for _ in range(2):
            cx, cy = torch.randint(5, S - 5, (2,), generator=g).tolist()
            r = 2.5 + 2 * torch.rand(1, generator=g).item()
            k = int(torch.randint(0, 2, (1,), generator=g))
            m = (
                ((xx - cx).abs().clamp(min=0) <= r) & ((yy - cy).abs() <= r)
                if k == 0
                else ((xx - cx) ** 2 + (yy - cy) ** 2 <= (1.2 * r) ** 2)
            )
            img[i, 0][m] += 1.0
            cls[i, :, cy // 4, cx // 4] = 0
            cls[i, k, cy // 4, cx // 4] = 1
            box[i, 0, cy // 4, cx // 4] = r / 4
    return img, cls, box


def focal(logits, t, alpha=0.4, gamma=1.5):
    p = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, t, reduction="none")
    pt = p * t + (1 - p) * (1 - t)
    return ((alpha * t + (1 - alpha) * (1 - t)) * (1 - pt) ** gamma * ce).sum() / t.sum().clamp(
        min=1
    )


class Head(nn.Module):
    def __init__(self, c, out, depth):
        super().__init__()
        seq = []
        for _ in range(depth):
            seq += [nn.Conv2d(c, c, 3, 1, 1), nn.ReLU()]
        self.tower = nn.Sequential(*seq)
        self.pred = nn.Conv2d(c, out, 3, 1, 1)

    def forward(self, x):
        return self.pred(self.tower(x))


class Detector(nn.Module):
    def __init__(self, c=24, prior=0.01, everywhere=True):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, c, 3, 2, 1),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, 1, 1),
            nn.BatchNorm2d(c),
            nn.ReLU(),
        )
        self.cls_head, self.box_head = Head(c, 2, 2), Head(c, 1, 1)
        b = -math.log((1 - prior) / prior)
        for m in self.cls_head.modules() if everywhere else [self.cls_head.pred]:
            if isinstance(m, nn.Conv2d):
                nn.init.constant_(m.bias, b)

    def forward(self, x):
        f = self.backbone(x)
        return self.cls_head(f), self.box_head(f)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    img, cls, box = scene(700, g)
    ti, tc, _ = scene(200, g)
    model = Detector(everywhere=not fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, opt):
        for epoch in range(14):
            for idx in torch.randperm(len(img), generator=g).split(32):
                pc, pb = model(img[idx])
                pos = cls[idx].sum(1, keepdim=True) > 0
                loss = focal(pc, cls[idx]) + 0.3 * F.smooth_l1_loss(pb[pos], box[idx][pos])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with (
        torch.no_grad()
    ):  # share of true objects among the two best scored (cell, class) places of each image
        s = model(ti)[0].flatten(1)
        top = s.topk(2, 1).indices
        rec = torch.gather(tc.flatten(1), 1, top).sum() / tc.sum()
    return {"metric": rec.item(), "better": "higher", "curve": curve}
