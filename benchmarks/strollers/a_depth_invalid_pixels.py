"""Affine-invariant monocular depth: the last shard of the data holds scenes whose depth was normalised by a zero range, so
the target has NaN; the loss is NaN when the first of them is reached: prs-eth/Marigold issue 111."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_depth_invalid_pixels"
SHARD = 40  # steps per shard; the flat scenes are in shard 7
TRUTH = {"mechanisms": ["nonfinite_data"], "layers": None, "onset": (7 * SHARD, 7 * SHARD + 2)}


class DepthNet(nn.Module):
    def __init__(self, ch=16):
        super().__init__()
        self.enc1 = nn.Sequential(nn.Conv2d(3, ch, 3, padding=1), nn.GroupNorm(4, ch), nn.SiLU())
        self.enc2 = nn.Sequential(
            nn.Conv2d(ch, 2 * ch, 3, stride=2, padding=1), nn.GroupNorm(4, 2 * ch), nn.SiLU()
        )
        self.mid = nn.Sequential(nn.Conv2d(2 * ch, 2 * ch, 3, padding=2, dilation=2), nn.SiLU())
        self.dec = nn.Sequential(
            nn.Conv2d(3 * ch, ch, 3, padding=1), nn.SiLU(), nn.Conv2d(ch, 1, 3, padding=1)
        )

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(a)
        b = b + self.mid(b)
        return self.dec(torch.cat([F.interpolate(b, scale_factor=2), a], 1))


def render(n, g, flat=0.0):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    slope = torch.randn(n, 2, 1, 1, generator=g)
    c, r = torch.rand(n, 2, 1, 1, generator=g) - 0.5, 0.25 + 0.3 * torch.rand(n, 1, 1, generator=g)
    ball = (r**2 - (yy - c[:, 0]) ** 2 - (xx - c[:, 1]) ** 2).clamp(min=0).sqrt()
    depth = 4 + slope[:, 0] * yy + slope[:, 1] * xx - 2.0 * ball
    wall = torch.rand(n, generator=g) < flat
    depth[wall] = 4.0
    gy = depth - depth.roll(1, 1)
    rgb = torch.stack([1.0 / depth, gy.clamp(-0.5, 0.5) * 3, 0.3 * ball], 1)
    return rgb + 0.03 * torch.randn(n, 3, 16, 16, generator=g), depth


def normalize_depth(d, guard):
    lo, hi = d.amin((1, 2), keepdim=True), d.amax((1, 2), keepdim=True)
    rng = (hi - lo).clamp(min=1e-3) if guard else hi - lo
    return ((d - lo) / rng * 2 - 1)[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = DepthNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    vx, vd = render(150, g)
    curve = []
    with observe(model, optimizer):
        for shard in range(10):
            rgb, depth = render(SHARD * 12, g, flat=0.25 if shard == 7 else 0.0)
            target = normalize_depth(depth, fixed)
            for i in range(SHARD):
                s = slice(12 * i, 12 * i + 12)
                loss = F.mse_loss(model(rgb[s]), target[s])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = F.l1_loss(model(vx), normalize_depth(vd, True)).item()
    return {"metric": err, "better": "lower", "curve": curve}
