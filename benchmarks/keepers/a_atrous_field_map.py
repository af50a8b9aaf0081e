"""A DeepLab-like net with a pyramid of dilated convolutions maps crop types in aerial tiles, after GitHub: bonlime/keras-deeplab-v3-plus
issue 4, 'Dropout(0.9)'. The original code keeps a unit with probability 0.9, the port passes the same 0.9 to a layer that drops with that
probability, and nine tenths of the projected features vanish in every step. Frameworks disagree on what the number means, and the code
runs either way."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_atrous_field_map"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["concat_dropout"], "onset": 0}

SIDE, CROPS = 24, 5


class SeparableAtrous(nn.Module):
    def __init__(self, c_in, c_out, rate):
        super().__init__()
        self.depth = nn.Conv2d(c_in, c_in, 3, padding=rate, dilation=rate, groups=c_in, bias=False)
        self.point = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return F.relu(self.bn(self.point(self.depth(x))))


class TinyDeepLab(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.entry = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.aspp0 = nn.Conv2d(16, 8, 1)
        self.aspp1, self.aspp2 = SeparableAtrous(16, 8, 2), SeparableAtrous(16, 8, 4)
        self.image_pool = nn.Conv2d(16, 8, 1)
        self.projection = nn.Sequential(
            nn.Conv2d(32, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.concat_dropout = nn.Dropout(drop)
        self.logits = nn.Conv2d(8, CROPS, 1)

    def forward(self, tile):
        x = self.entry(tile)
        whole = self.image_pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        x = torch.cat([whole, F.relu(self.aspp0(x)), self.aspp1(x), self.aspp2(x)], 1)
        x = self.concat_dropout(self.projection(x))
        return F.interpolate(
            self.logits(x), size=tile.shape[2:], mode="bilinear", align_corners=False
        )


def tiles(n, gen):
    """Fields are Voronoi cells; every crop has a row direction, a row distance and a faint tint."""
    g = torch.arange(SIDE).float()
    yy, xx = torch.meshgrid(g, g, indexing="ij")
    centre = torch.rand(n, 4, 2, generator=gen) * SIDE
    owner = (
        (yy[None, None] - centre[..., 0, None, None]) ** 2
        + (xx[None, None] - centre[..., 1, None, None]) ** 2
    ).argmin(1)
    crop = torch.randint(0, CROPS, (n, 4), generator=gen)
    label = crop.gather(1, owner.flatten(1)).view(n, SIDE, SIDE)
    angle = torch.tensor([0.0, 0.6, 1.2, 1.8, 2.4])[label]
    period = torch.tensor([3.0, 4.0, 5.0, 3.5, 4.5])[label]
    rows = torch.sin(2 * math.pi * (torch.cos(angle) * xx + torch.sin(angle) * yy) / period)
    tint = torch.tensor(
        [[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.1], [0.1, 0.1, 0.0], [0.0, 0.1, 0.1]]
    )[label].permute(0, 3, 1, 2)
    return 0.5 * rows.unsqueeze(1) + tint + 0.6 * torch.randn(
        n, 3, SIDE, SIDE, generator=gen
    ), label


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 101)
    model = TinyDeepLab(drop=0.1 if fixed else 0.9)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    total = 200
    poly = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: (1 - i / total) ** 0.9)
    test_x, test_y = tiles(120, gen)
    stock = [tiles(8, gen) for _ in range(total)]
    curve = []
    with observe(model, optimizer):
        for x, y in stock:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            poly.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        guess = model(test_x).argmax(1)
    ious = [
        ((guess == c) & (test_y == c)).sum() / ((guess == c) | (test_y == c)).sum()
        for c in range(CROPS)
    ]
    return {"metric": torch.stack(ious).mean().item(), "better": "higher", "curve": curve}
