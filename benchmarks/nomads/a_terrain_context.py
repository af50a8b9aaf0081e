"""A segmentation net with an image-pooling context branch (as in DeepLab) uses GroupNorm everywhere, with the 16 groups that suit its
32-channel trunk. The pooled branch has only 16 channels and one pixel, so each group there holds a single number, which is
normalised to zero: the branch outputs a constant. A helper `norm(c)` with a fixed number of groups produces this without an error."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_terrain_context"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["context.2"], "onset": 0}


def make_tiles(n, g):
    """Blobs to be segmented; their class is the biome, visible only in the mean tint of the tile."""
    biome = torch.randint(0, 5, (n,), generator=g)
    tint = (
        torch.tensor(
            [
                [-0.5, -0.25, 0.4],
                [-0.25, 0.5, -0.4],
                [0.0, -0.5, -0.2],
                [0.25, 0.0, 0.5],
                [0.5, 0.3, -0.1],
            ]
        )
        * 0.6
    )
    img = torch.randn(n, 3, 32, 32, generator=g) * 1.2 + tint[biome][:, :, None, None]
    yy, xx = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    mask = torch.zeros(n, 32, 32, dtype=torch.bool)
    for _ in range(3):
        c = torch.rand(n, 2, generator=g) * 24 + 4
        r = torch.rand(n, generator=g) * 3 + 3
        mask |= ((yy - c[:, 0, None, None]) ** 2 + (xx - c[:, 1, None, None]) ** 2) < r[
            :, None, None
        ] ** 2
    img = img + 3.0 * mask[:, None].float()
    return img, mask.long() * (biome + 1)[:, None, None]


class TerrainNet(nn.Module):
    def __init__(self, c=32, ctx=16, classes=6, ctx_groups=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, padding=1), nn.GroupNorm(16, c), nn.ReLU())
        self.local = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.GroupNorm(16, c), nn.ReLU())
        self.context = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, ctx, 1), nn.GroupNorm(ctx_groups, ctx), nn.ReLU()
        )
        self.project = nn.Sequential(nn.Conv2d(c + ctx, c, 1), nn.ReLU(), nn.Conv2d(c, classes, 1))

    def forward(self, x):
        x = self.stem(x)
        around = F.interpolate(self.context(x), size=x.shape[-2:], mode="nearest")
        return self.project(torch.cat([self.local(x), around], 1))


def mean_iou(model, x, y, classes=6):
    model.eval()
    with torch.no_grad():
        p = torch.cat([model(b).argmax(1) for b in x.split(50)])
    ious = [
        ((p == k) & (y == k)).sum().item() / max(1, ((p == k) | (y == k)).sum().item())
        for k in range(classes)
    ]
    return sum(ious) / classes


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 10)
    x, y = make_tiles(600, g)
    xv, yv = make_tiles(150, g)
    model = TerrainNet(ctx_groups=2 if fixed else 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    class_weights = torch.tensor([0.4, 1.0, 1.0, 1.0, 1.0, 1.0])
    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(2):
            for idx in torch.randperm(len(x), generator=g).split(4):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[idx]), y[idx], weight=class_weights)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    return {"metric": mean_iou(model, xv, yv), "better": "higher", "curve": curve}
