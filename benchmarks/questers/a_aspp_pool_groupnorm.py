"""Segmentation with an image-level pooling branch. BatchNorm after AdaptiveAvgPool2d(1) failed with small batches (VainF/DeepLabV3Plus-Pytorch issue 27) and is replaced here with
a GroupNorm of one channel per group: over 1 x 1 values it is always zero, the global context is lost. Repair: one group."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_aspp_pool_groupnorm"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["aspp.pool.2", "aspp.pool"],
    "onset": (0, 0),
}


def gn(channels, groups):
    return nn.GroupNorm(groups, channels)


class ASPP(nn.Module):
    def __init__(self, cin, c, pool_groups):
        super().__init__()
        self.b1 = nn.Sequential(nn.Conv2d(cin, c, 1), gn(c, 4), nn.ReLU())
        self.b2 = nn.Sequential(nn.Conv2d(cin, c, 3, padding=2, dilation=2), gn(c, 4), nn.ReLU())
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(cin, c, 1, bias=False), gn(c, pool_groups), nn.ReLU()
        )
        self.project = nn.Conv2d(3 * c, c, 1)

    def forward(self, x):
        g = F.interpolate(self.pool(x), size=x.shape[-2:], mode="nearest")
        return F.relu(self.project(torch.cat([self.b1(x), self.b2(x), g], 1)))


class DeepLabLite(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 1), nn.ReLU()
        )
        self.aspp = ASPP(16, 16, 1 if fixed else 16)
        self.classifier = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        y = self.classifier(self.aspp(self.backbone(x)))
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)


def aerial(n, gen):
    """Blobs on a ground; the season (tint of the whole image) decides which crop a bright blob is."""
    low = torch.randn(n, 1, 4, 4, generator=gen)
    field = F.interpolate(low, size=(24, 24), mode="bicubic", align_corners=False)[:, 0]
    season = torch.randint(0, 3, (n,), generator=gen)
    mask = field > 0.3
    y = torch.where(mask, 1 + season[:, None, None], torch.zeros_like(mask, dtype=torch.long))
    tint = torch.tensor([[0.25, 0, 0], [0, 0.25, 0], [0, 0, 0.25]])[season]
    x = (
        mask[:, None].float() * 0.8
        + tint[:, :, None, None]
        + 1.2 * torch.randn(n, 3, 24, 24, generator=gen)
    )
    return x, y


def miou(pred, y):
    out = [
        ((pred == k) & (y == k)).sum() / ((pred == k) | (y == k)).sum().clamp(min=1)
        for k in range(4)
    ]
    return torch.stack(out).mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 40)
    x, y = aerial(800, gen)
    xt, yt = aerial(200, gen)
    model = DeepLabLite(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    total, curve = 500, []
    sched = torch.optim.lr_scheduler.PolynomialLR(opt, total, 0.9)
    with observe(model, opt):
        for step in range(total):
            idx = torch.randint(0, 800, (8,))
            loss = F.cross_entropy(model(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        score = miou(model(xt).argmax(1), yt)
    return {"metric": score, "better": "higher", "curve": curve}
