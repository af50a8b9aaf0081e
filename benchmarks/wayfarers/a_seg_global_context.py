"""Segmentation with an image-level context branch: the normalisation behind the global pooling has
one group per channel, so each group is a single number and the branch puts out a constant."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "seg-context-groupnorm-one-by-one"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["context", "context.norm"],
    "onset": 0,
}
SIZE = 24


def make_batch(n, gen):
    """Discs on noise; the marker in the corner says which of two materials the discs are."""
    yy, xx = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    img = 0.3 * torch.randn(n, 3, SIZE, SIZE, generator=gen)
    mask = torch.zeros(n, SIZE, SIZE, dtype=torch.bool)
    for _ in range(2):
        c = torch.randint(9, 21, (n, 2, 1, 1), generator=gen)
        r = torch.randint(2, 5, (n, 1, 1), generator=gen)
        mask |= (yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2 <= r**2
    kind = torch.randint(0, 2, (n,), generator=gen)
    img[:, 0] += 1.2 * mask
    img[:, 1, :4, :4] += 2.0 * (kind == 0)[:, None, None]
    img[:, 2, :4, :4] += 2.0 * (kind == 1)[:, None, None]
    return img, mask.long() * (1 + kind)[:, None, None]


def conv_block(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
    )


class ImageContext(nn.Module):
    def __init__(self, cin, cout, groups=None):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.proj = nn.Conv2d(cin, cout, 1)
        self.norm = nn.GroupNorm(groups or cout, cout)

    def forward(self, x):
        return F.relu(self.norm(self.proj(self.pool(x)))).expand(-1, -1, *x.shape[2:])


class SegNet(nn.Module):
    def __init__(self, context_groups=None):
        super().__init__()
        self.body = nn.Sequential(conv_block(3, 12), conv_block(12, 16))
        self.context = ImageContext(16, 16, context_groups)
        self.classifier = nn.Sequential(nn.Conv2d(32, 24, 1), nn.ReLU(), nn.Conv2d(24, 3, 1))

    def forward(self, x):
        h = self.body(x)
        return self.classifier(torch.cat([h, self.context(h)], 1))


def mean_iou(pred, target, classes=3):
    ious = []
    for c in range(classes):
        p, t = pred == c, target == c
        ious.append(((p & t).sum() / (p | t).sum().clamp(min=1)).item())
    return sum(ious) / classes


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 10)
    model = SegNet(context_groups=2 if fixed else None)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, 300, power=0.9)
    weight = torch.tensor([0.3, 1.0, 1.0])
    curve = []
    with observe(model, optimizer):
        for _ in range(280):
            img, target = make_batch(12, gen)
            loss = F.cross_entropy(model(img), target, weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        img, target = make_batch(200, gen)
        score = mean_iou(model(img).argmax(1), target)
    return {"metric": score, "better": "higher", "curve": curve}
