"""Super-resolution; after 170 steps of L1 an edge loss sqrt(gx^2 + gy^2) is added, infinite slope on flat black areas."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "superres-sobel-sqrt"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": [], "onset": (168, 176)}
SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def glyphs(n, g, s=20):
    """Bright strokes on a black page, anti-aliased."""
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    img = torch.zeros(n, s, s)
    for _ in range(3):
        cx, cy = (3 + (s - 6) * torch.rand(n, 1, 1, generator=g) for _ in range(2))
        a = 3.1416 * torch.rand(n, 1, 1, generator=g)
        u = (xx - cx) * a.cos() + (yy - cy) * a.sin()
        v = -(xx - cx) * a.sin() + (yy - cy) * a.cos()
        half = 2 + 4 * torch.rand(n, 1, 1, generator=g)
        img = torch.maximum(img, (half - u.abs()).clamp(0, 1) * (1.5 - v.abs()).clamp(0, 1))
    return img[:, None]


def edges(img, eps):
    k = torch.stack([SOBEL, SOBEL.t()])[:, None]
    gx, gy = F.conv2d(img, k, padding=1).chunk(2, 1)
    return torch.sqrt(gx**2 + gy**2 + eps)


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + 0.3 * self.b(F.relu(self.a(x)))


class EDSR(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.head = nn.Conv2d(1, c, 3, padding=1)
        self.body = nn.Sequential(*[ResBlock(c) for _ in range(3)])
        self.tail = nn.Sequential(nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, lr):
        base = F.interpolate(lr, scale_factor=2, mode="bilinear", align_corners=False)
        h = self.head(lr - 0.2)
        return (base + self.tail(self.body(h) + h)).clamp(0, 1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    hr, hr_val = glyphs(300, g), glyphs(100, g)
    lr, lr_val = F.avg_pool2d(hr, 2), F.avg_pool2d(hr_val, 2)
    model = EDSR()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    eps = 1e-6 if fixed else 0.0
    log = []
    with observe(model, opt):
        for step in range(400):
            i = torch.randint(0, len(hr), (16,), generator=g)
            out = model(lr[i])
            loss = F.l1_loss(out, hr[i])
            if step >= 170:
                loss = loss + 0.05 * F.l1_loss(edges(out, eps), edges(hr[i], eps))
            opt.zero_grad()
            loss.backward()
            opt.step()
            log.append(loss.item())
    with torch.no_grad():
        mse = F.mse_loss(torch.nan_to_num(model(lr_val)), hr_val)
    return {"metric": (-10 * mse.log10()).item(), "better": "higher", "curve": log}
