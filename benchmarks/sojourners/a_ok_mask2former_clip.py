"""Healthy: mask prediction with AdamW and full-model gradient clipping at 0.01, which is active in every step and harmless, since AdamW divides the common factor out.
Asked in facebookresearch/Mask2Former issue #148."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_mask2former_clip"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def masks(n, g, s=16):
    y, x = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    c = 4 + 8 * torch.rand(n, 2, 1, 1, generator=g)
    r = 2 + 3 * torch.rand(n, 2, 1, 1, generator=g)
    m = (((x - c[:, 0]) / r[:, 0]) ** 2 + ((y - c[:, 1]) / r[:, 1]) ** 2 < 1).float()
    return (m + 0.5 * torch.randn(m.shape, generator=g))[:, None], m


class PixelDecoder(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, c, 3, 1, 1),
            nn.GroupNorm(4, c),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, 2, 1),
            nn.ReLU(),
        )
        self.up = nn.Sequential(
            nn.Conv2d(c, c, 3, 1, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(c, c, 3, 1, 1),
        )

    def forward(self, x):
        f = self.down(x)
        return self.up(f), f.flatten(2).transpose(1, 2)


class MaskFormer(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.pixel = PixelDecoder(c)
        self.query = nn.Parameter(torch.randn(1, 1, c))
        self.cross = nn.MultiheadAttention(c, 2, batch_first=True)
        self.mask_embed = nn.Sequential(nn.Linear(c, c), nn.ReLU(), nn.Linear(c, c))

    def forward(self, x):
        pix, mem = self.pixel(x)
        q = self.query.expand(len(x), -1, -1)
        q = q + self.cross(q, mem, mem)[0]
        return torch.einsum("bqc,bchw->bqhw", self.mask_embed(q), pix)[:, 0]


def dice(logit, m):
    p = logit.sigmoid()
    return (1 - (2 * (p * m).sum((1, 2)) + 1) / (p.sum((1, 2)) + m.sum((1, 2)) + 1)).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, m = masks(800, g)
    xt, mt = masks(200, g)
    model = MaskFormer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, 800, (16,))
            out = model(x[idx])
            loss = 5 * F.binary_cross_entropy_with_logits(out, m[idx]) + 5 * dice(out, m[idx])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        return {"metric": 1 - dice(model(xt), mt).item(), "better": "higher", "curve": curve}
