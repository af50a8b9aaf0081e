"""One-object detector whose boxes are regressed in pixels of the original 640-pixel photographs,
hundreds of units away from what the freshly made head puts out."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "detector-boxes-in-pixels"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}
PHOTO, INPUT = 640, 32


class ToyPhotos:
    """A bright square or a hollow frame somewhere in a noisy picture; boxes as (cx, cy, w, h)."""

    def __init__(self, seed, normalized_boxes):
        self.gen = torch.Generator().manual_seed(seed)
        self.scale = 1.0 / PHOTO if normalized_boxes else 1.0

    def batch(self, n):
        wh = torch.rand(n, 2, generator=self.gen) * 220 + 120
        center = wh / 2 + torch.rand(n, 2, generator=self.gen) * (PHOTO - wh)
        kind = torch.randint(0, 2, (n,), generator=self.gen)
        grid = (torch.arange(INPUT) + 0.5) * PHOTO / INPUT
        dx = (grid[None, None, :] - center[:, 0, None, None]).abs() / wh[:, 0, None, None]
        dy = (grid[None, :, None] - center[:, 1, None, None]).abs() / wh[:, 1, None, None]
        far = torch.maximum(dx, dy)
        inside = (far < 0.5) & ((kind == 0)[:, None, None] | (far > 0.25))
        img = inside.float() + 0.25 * torch.randn(n, INPUT, INPUT, generator=self.gen)
        return img[:, None], kind, torch.cat([center, wh], 1) * self.scale


class Detector(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        layers, cin = [], 1
        for cout in (width, 2 * width, 2 * width):
            layers += [
                nn.Conv2d(cin, cout, 3, stride=2, padding=1),
                nn.BatchNorm2d(cout),
                nn.ReLU(),
            ]
            cin = cout
        self.backbone = nn.Sequential(*layers, nn.Flatten())
        self.neck = nn.Sequential(nn.Linear(cin * 16, 64), nn.ReLU())
        self.cls_head = nn.Linear(64, 2)
        self.box_head = nn.Linear(64, 4)

    def forward(self, x):
        h = self.neck(self.backbone(x))
        return self.cls_head(h), self.box_head(h)


def iou(a, b):
    lo = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    hi = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    inter = (hi - lo).clamp(min=0).prod(1)
    return inter / (a[:, 2:].clamp(min=0).prod(1) + b[:, 2:].prod(1) - inter)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    photos = ToyPhotos(seed + 21, normalized_boxes=fixed)
    model = Detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(350):
            img, kind, box = photos.batch(32)
            logits, pred = model(img)
            loss = F.cross_entropy(logits, kind) + 2.0 * F.l1_loss(pred, box)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        img, _, box = photos.batch(500)
        score = iou(model(img)[1], box).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}
