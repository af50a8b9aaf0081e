"""U-Net segmentation of bright cells in microscopy-like tiles. The second data shard (from step 300) contains a mis-exported file:
every sixth batch comes as 8-bit counts (0..255) instead of 0..1."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_unet_raw_shard"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (300, 300)}


def tiles(n, g, S=24):
    ax = torch.arange(S).float()
    x, m = 0.25 + 0.1 * torch.randn(n, 1, S, S, generator=g), torch.zeros(n, 1, S, S)
    for k in range(3):
        c = 4 + (S - 8) * torch.rand(n, 2, generator=g)
        r = 2 + 2 * torch.rand(n, generator=g)
        d = (ax[None, :, None] - c[:, 0, None, None]) ** 2 + (
            ax[None, None] - c[:, 1, None, None]
        ) ** 2
        disc = (d < (r**2)[:, None, None]).float()[:, None]
        x = x + 0.25 * disc * (1 if k else -0.6)
        m = torch.maximum(m, disc) if k else m
    return x.clamp(0, 1), m


class Double(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Conv2d(i, o, 3, 1, 1), nn.ReLU(), nn.Conv2d(o, o, 3, 1, 1), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.mid = Double(1, c), Double(c, 2 * c), Double(2 * c, 2 * c)
        self.u2, self.u1, self.out = Double(4 * c, c), Double(2 * c, c), nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        h = self.u2(torch.cat([F.interpolate(m, scale_factor=2), b], 1))
        return self.out(self.u1(torch.cat([F.interpolate(h, scale_factor=2), a], 1)))


def dice_bce(z, t):
    p = z.sigmoid()
    dice = 1 - (2 * (p * t).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + t.sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(z, t) + dice.mean()


def loader(x, m, steps, g, shard2, bad):
    for step in range(steps):
        idx = torch.randint(0, len(x), (12,), generator=g)
        xb = x[idx]
        if bad and step >= shard2 and (step - shard2) % 6 == 0:
            xb = xb * 255.0
        yield xb, m[idx]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    x, m = tiles(500, g)
    xt, mt = tiles(150, g)
    net = UNet()
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    curve = []
    with observe(net, opt):
        for xb, mb in loader(x, m, 520, g, 300, not fixed):
            loss = dice_bce(net(xb), mb)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = (net(xt) > 0).float()
        dice = (2 * (p * mt).sum() / (p.sum() + mt.sum()).clamp(min=1)).item()
    return {"metric": 1 - dice, "better": "lower", "curve": curve}
