"""DeepLab-like segmentation of lesions, whose class depends on whether the contrast-agent marker is in a corner of the image.
On a ConvNeXt-like backbone the image-level pooling branch has its batch norm exchanged for GroupNorm with one channel per group, since
batches are small: behind the pooling a group is a single number, which normalises to zero, and the global context is lost."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_aspp_context"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["image_pool.2"], "onset": 0}


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv(i, o, stride=1, dil=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, dil, dil), LayerNorm2d(o), nn.ReLU())


class MiniDeepLab(nn.Module):
    def __init__(self, pool_groups):
        super().__init__()
        self.backbone = nn.Sequential(conv(1, 16), conv(16, 32, 2))
        self.atrous = conv(32, 32, 1, 2)
        self.image_pool = nn.Sequential(
            nn.AdaptiveMaxPool2d(1),
            nn.Conv2d(32, 32, 1, bias=False),
            nn.GroupNorm(pool_groups, 32),
            nn.ReLU(),
        )
        self.fuse = nn.Sequential(nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 3, 1))

    def forward(self, x):
        h = self.backbone(x)
        a = self.atrous(h)
        p = self.image_pool(h).expand(-1, -1, *a.shape[-2:])
        return F.interpolate(
            self.fuse(torch.cat([a, p], 1)), scale_factor=2, mode="bilinear", align_corners=False
        )


def scans(n, g, S=32):
    yy, xx = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    cx, cy = (torch.randint(13, 26, (n, 1, 1), generator=g) for _ in range(2))
    r = torch.randint(3, 6, (n, 1, 1), generator=g)
    blob = (xx - cx) ** 2 + (yy - cy) ** 2 <= r**2
    agent = torch.randint(0, 2, (n,), generator=g)
    img = 0.15 * torch.randn(n, S, S, generator=g) + 0.8 * blob
    cross = ((xx < 4) & (yy < 4) & ((xx + yy) % 2 == 0)).float()
    img += 2.0 * cross * agent.view(-1, 1, 1)
    return img.unsqueeze(1), blob.long() * (1 + agent.view(-1, 1, 1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 71)
    model = MiniDeepLab(pool_groups=4 if fixed else 32)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    poly = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=450, power=0.9)
    weight = torch.tensor([0.3, 1.0, 1.0])
    curve = []
    with observe(model, optimizer):
        for it in range(450):
            img, mask = scans(6, g)
            loss = F.cross_entropy(model(img), mask, weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            poly.step()
            curve.append(loss.item())
    with torch.no_grad():
        img, mask = scans(200, g)
        pred = model(img).argmax(1)
        iou = [
            (
                ((pred == c) & (mask == c)).sum() / ((pred == c) | (mask == c)).sum().clamp(min=1)
            ).item()
            for c in (1, 2)
        ]
    return {"metric": sum(iou) / 2, "better": "higher", "curve": curve}
