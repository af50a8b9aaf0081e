"""Image-to-image "relighting" net (pix2pix style): a global code of 1x1 is computed by a strided encoder and decoded with the content.
Every conv block has per-sample, per-channel (instance) normalization, also the last one, whose map is 1x1: value minus its own mean = 0.
Re-enacts junyanz/CycleGAN issue 55 (instance norm on 1x1 maps zeroes the features)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_style_bottleneck"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["glob.3.norm", "glob.3"],
    "onset": (0, 0),
}


class ConvBlock(nn.Module):
    def __init__(self, cin, cout, stride=1, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1)
        self.norm = nn.GroupNorm(cout, cout) if norm else nn.Identity()  # = instance norm, affine

    def forward(self, x):
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class Relight(nn.Module):
    """content from image a, global illumination (two numbers: gain, tint) from image b"""

    def __init__(self, ch=12, last_norm=True):
        super().__init__()
        self.glob = nn.Sequential(
            ConvBlock(3, ch, 2, norm=False),
            ConvBlock(ch, ch, 2, norm=False),
            ConvBlock(ch, 2 * ch, 2, norm=False),
            ConvBlock(2 * ch, 2 * ch, 2, norm=last_norm),
        )
        self.content = nn.Sequential(ConvBlock(3, ch), ConvBlock(ch, ch))
        self.film = nn.Linear(2 * ch, 2 * ch)
        self.dec = nn.Sequential(
            nn.Conv2d(ch, ch, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(ch, 3, 1)
        )

    def forward(self, a, b):
        g = self.film(self.glob(b).flatten(1))
        scale, shift = g.chunk(2, 1)
        h = self.content(a)
        h = h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return self.dec(h)


def scenes(n, g, size=16):
    base = F.interpolate(
        torch.rand(n, 1, 4, 4, generator=g), size=(size, size), mode="bilinear", align_corners=False
    )
    return base - base.mean((2, 3), keepdim=True)


def light(s, lamp):
    gain, tint = lamp[:, :1, None, None], lamp[:, 1:, None, None]
    rgb = torch.cat([s + tint, s, s - tint], 1)
    return gain * rgb


def batch(n, g):
    lamp_a = torch.rand(n, 2, generator=g) * torch.tensor([1.0, 1.6]) + torch.tensor([0.7, -0.8])
    lamp_b = torch.rand(n, 2, generator=g) * torch.tensor([1.0, 1.6]) + torch.tensor([0.7, -0.8])
    sa, sb = scenes(n, g), scenes(n, g)
    return light(sa, lamp_a), light(sb, lamp_b), light(sa, lamp_b)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    model = Relight(last_norm=not fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.1, 500)
    curve = []
    with observe(model, opt):
        for it in range(500):
            a, b, y = batch(16, g)
            loss = F.mse_loss(model(a, b), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    a, b, y = batch(256, torch.Generator().manual_seed(9))
    with torch.no_grad():
        err = F.mse_loss(model(a, b), y).item()
    return {"metric": err, "better": "lower", "curve": curve}
