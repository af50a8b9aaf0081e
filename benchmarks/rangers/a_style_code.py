"""An encoder with instance normalisation in every block estimates the parameters of a texture (its scale, direction, tint). As in
github.com/pytorch/pytorch issue 45687 (and theFoxofSky/ddfnet issue 14) the last block works on a 1 x 1 map, where the mean is the value
itself, so its normalised output is silently zero for batches larger than one.
"""

import torch
from torch import nn

ID = "a_style_code"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["blocks.3.norm"], "onset": 0}


class Down(nn.Module):
    def __init__(self, cin, cout, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 4, stride=2, padding=1)
        self.norm = (
            nn.GroupNorm(cout, cout) if norm else nn.Identity()
        )  # one group a channel = instance norm
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class TextureEncoder(nn.Module):
    def __init__(self, last_norm):
        super().__init__()
        self.blocks = nn.ModuleList(
            [Down(3, 16, norm=False), Down(16, 24), Down(24, 32), Down(32, 48, norm=last_norm)]
        )
        self.to_code = nn.Conv2d(48, 4, 1)

    def forward(self, x):
        for b in self.blocks:
            x = b(x)
        return self.to_code(x).flatten(1)


def textures(n, gen):
    code = torch.rand(n, 4, generator=gen) * 2 - 1
    g = torch.arange(16.0)
    f, th = 0.9 + 0.4 * code[:, 0], 0.8 * code[:, 1]
    wave = torch.sin(
        (f * th.cos())[:, None, None] * g[None, :, None]
        + (f * th.sin())[:, None, None] * g[None, None, :]
        + 6.28 * torch.rand(n, 1, 1, generator=gen)
    )
    ch = torch.stack([wave, wave * code[:, 2, None, None], wave.abs() * code[:, 3, None, None]], 1)
    return ch + 0.1 * torch.randn(n, 3, 16, 16, generator=gen), code


def fit(model, optimizer, x, y, gen, steps, log):
    loss_fn = nn.L1Loss()
    for _ in range(steps):
        idx = torch.randint(0, len(x), (32,), generator=gen)
        optimizer.zero_grad()
        loss = loss_fn(model(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
        log.append(float(loss.detach()))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(400 + seed)
    x, y = textures(2500, gen)
    xv, yv = textures(400, gen)
    model = TextureEncoder(last_norm=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    curve = []
    with observe(model, optimizer):
        fit(model, optimizer, x, y, gen, 600, curve)
    with torch.no_grad():
        mae = (model(xv) - yv).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
