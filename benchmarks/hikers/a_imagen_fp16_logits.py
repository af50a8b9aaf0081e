"""Attention over patch tokens of microscope tiles, the attention block kept in float16.
q is multiplied with k before the scale is applied; tiles from the second, brighter scanner (from step 150) give products beyond 65504,
inf - inf in the softmax and NaN. After lucidrains/imagen-pytorch issue 69."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_imagen_fp16_logits"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["attn"], "onset": (150, 150)}


class Attention16(nn.Module):
    def __init__(self, dim, scale_first):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.scale, self.scale_first = dim**-0.5, scale_first

    def forward(self, x):
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        q, k, v = q.half(), k.half(), v.half()
        if self.scale_first:
            sim = (q * self.scale).float() @ k.float().transpose(1, 2)
            attn = sim.softmax(-1).half()
        else:
            sim = q @ k.transpose(1, 2)
            attn = (sim * self.scale).softmax(-1)
        return self.out((attn @ v).float())


class Net(nn.Module):
    def __init__(self, fixed, dim=64):
        super().__init__()
        self.patch = nn.Linear(16, dim)
        self.attn = Attention16(dim, scale_first=fixed)
        self.norm = nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, 3))

    def forward(self, img):
        t = F.unfold(img, 4, stride=4).transpose(1, 2)
        h = self.patch(t)
        h = self.norm(h + self.attn(h))
        return self.ff(h.mean(1))


def tiles(n, g, bright):
    """Three tissue types told by the direction of a stripe texture; counts, brighter on the second scanner."""
    y = torch.randint(0, 3, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ang = (y * 1.05)[:, None, None] + 0.1 * torch.randn(n, 1, 1, generator=g)
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    tex = torch.sin(1.5 * (xx * torch.cos(ang) + yy * torch.sin(ang)) + ph)
    img = 3.0 * tex + 1.5 * torch.randn(n, 16, 16, generator=g)
    if bright:
        sel = torch.arange(n) % 4 == 0
        img[sel] = img[sel] * 55.0 + 90.0
    return img.unsqueeze(1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    model = Net(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, opt):
        for step in range(800):
            x, y = tiles(32, g, bright=step >= 150)
            loss = F.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = tiles(600, torch.Generator().manual_seed(31), bright=False)
        out = model(x)
        acc = (out.argmax(1) == y).float().mean().item() if torch.isfinite(out).all() else 0.0
    return {"metric": acc, "better": "higher", "curve": curve}
