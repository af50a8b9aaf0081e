"""Monocular depth estimation with a hand-written scale-invariant log loss: the prediction keeps its
channel axis, the depth map has none, so the difference broadcasts to all pairs of the batch."""

import math

import torch
from torch import nn
from torch.nn import functional as F

ID = "monocular-depth-silog"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}
SIZE = 32


def make_scenes(n, g):
    """A floor that recedes towards the horizon, with flat boxes standing in front of it."""
    rows = torch.linspace(0, 1, SIZE)
    depth = (8.0 - 6.0 * rows)[None, :, None].repeat(n, 1, SIZE)
    albedo = 0.5 + 0.1 * torch.rand(n, 3, 1, 1, generator=g)
    image = albedo * torch.ones(n, 3, SIZE, SIZE)
    for i in range(n):
        for _ in range(3):
            h, w = torch.randint(6, 16, (2,), generator=g).tolist()
            y = int(torch.randint(0, SIZE - h, (1,), generator=g))
            x = int(torch.randint(0, SIZE - w, (1,), generator=g))
            d = 1.0 + 6.0 * float(torch.rand(1, generator=g))
            depth[i, y : y + h, x : x + w] = d
            image[i, :, y : y + h, x : x + w] = 0.4 + 0.4 * torch.rand(3, 1, 1, generator=g)
    fog = torch.exp(-depth / 4.0)[:, None]
    image = image * fog + 0.9 * (1 - fog) + 0.02 * torch.randn(n, 3, SIZE, SIZE, generator=g)
    return (image - 0.7) / 0.2, depth


def conv(i, o, stride=1):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ELU(inplace=True)
    )


class DepthNet(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.stem = conv(3, c)
        self.down1 = conv(c, 2 * c, 2)
        self.down2 = conv(2 * c, 4 * c, 2)
        self.up1 = conv(6 * c, 2 * c)
        self.up2 = conv(3 * c, c)
        self.disp = nn.Conv2d(c, 1, 3, padding=1)
        nn.init.constant_(self.disp.bias, math.log(4.0))

    def forward(self, x):
        s0 = self.stem(x)
        s1 = self.down1(s0)
        s2 = self.down2(s1)
        y = self.up1(torch.cat([F.interpolate(s2, scale_factor=2), s1], 1))
        y = self.up2(torch.cat([F.interpolate(y, scale_factor=2), s0], 1))
        return torch.exp(self.disp(y).clamp(-2, 4))


def silog(pred, target, lam=0.5, max_depth=80.0):
    valid = ((target > 1e-3) & (target < max_depth)).float()
    d = (torch.log(pred) - torch.log(target)) * valid
    return torch.sqrt((d**2).mean() - lam * d.mean() ** 2 + 1e-6)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    images, depths = make_scenes(400, g)
    test_x, test_d = make_scenes(64, g)
    model = DepthNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(200):
            idx = torch.randint(0, len(images), (8,), generator=g)
            pred = model(images[idx])
            if fixed:
                pred = pred.squeeze(1)
            loss = silog(pred, depths[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        abs_rel = ((model(test_x).squeeze(1) - test_d).abs() / test_d).mean().item()
    return {"metric": abs_rel, "better": "lower", "curve": curve}
