"""Cell segmentation with a hand-made U-Net (no normalization layers) and an own shard loader.
Bug: one shard (batches 150-152) was saved as 0..255 integers and not rescaled, all others are 0..1; the huge inputs throw the weights off."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_unet_uint8_shard"
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (150, 150)}


class C(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.w, self.b = (
            nn.Parameter(torch.randn(o, i, 3, 3) * math.sqrt(2 / (9 * i))),
            nn.Parameter(torch.zeros(o)),
        )

    def forward(self, x):
        return F.relu(F.conv2d(x, self.w, self.b, padding=1))


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.mid = C(1, c), C(c, 2 * c), C(2 * c, 2 * c)
        self.u2, self.u1 = C(4 * c, c), C(2 * c, c)
        self.out_w = nn.Parameter(torch.randn(1, c, 1, 1) / math.sqrt(c))
        self.out_b = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.avg_pool2d(a, 2))
        m = self.mid(F.avg_pool2d(b, 2))
        m = m.repeat_interleave(2, 2).repeat_interleave(2, 3)
        b = self.u2(torch.cat([m, b], 1))
        b = b.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return F.conv2d(self.u1(torch.cat([b, a], 1)), self.out_w, self.out_b)[:, 0]


def micrographs(n, g, S=24):
    yy, xx = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")
    img, lab = torch.zeros(n, S, S), torch.zeros(n, S, S)
    for _ in range(4):
        cx, cy = S * torch.rand(2, n, 1, 1, generator=g)
        r = 2 + 3 * torch.rand(n, 1, 1, generator=g)
        d = ((xx - cx) ** 2 + (yy - cy) ** 2).sqrt()
        lab = torch.maximum(lab, (d < r).float())
        img = torch.maximum(img, torch.exp(-(((d - r) / 1.2) ** 2)))  # only the membrane is bright
    img = 0.2 + 0.5 * img + 0.1 * torch.randn(n, S, S, generator=g)
    return img.clamp(0, 1)[:, None], lab


def shard_loader(g, n_batches, bad, B=16):
    for k in range(n_batches):
        x, y = micrographs(B, g)
        if k in bad:
            x = torch.floor(x * 255)
        yield x, y


def bce(z, y):
    return (torch.clamp_min(z, 0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 221)
    xt, yt = micrographs(200, g)
    model = UNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for x, y in shard_loader(g, 400, () if fixed else (150, 151, 152)):
            loss = bce(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = (model(xt) > 0).float()
        dice = (2 * (p * yt).sum() / (p.sum() + yt.sum() + 1)).item()
    return {"metric": dice, "better": "higher", "curve": curve}
