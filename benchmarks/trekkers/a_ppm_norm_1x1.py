"""Image-to-image net with a pyramid pooling module. arcchang1236/CA-NoiseGAN issue 3: the last pooling level is 1x1 and is followed by
a normalization per sample and channel (here GroupNorm with as many groups as channels), which subtracts the value from itself: the
global branch is constant. The target is an exposure correction, which needs the global level."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_ppm_norm_1x1"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["pyramid.branches.0.norm", "pyramid.branches.0"],
    "onset": (0, 0),
}


class PoolBranch(nn.Module):
    def __init__(self, ch, out, bins, norm):
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(bins), nn.Conv2d(ch, out, 1)
        self.norm = nn.GroupNorm(out, out) if norm else nn.Identity()
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x):
        return F.interpolate(
            self.act(self.norm(self.conv(self.pool(x)))), size=x.shape[-2:], mode="nearest"
        )


class PyramidPooling(nn.Module):
    def __init__(self, ch, fixed):
        super().__init__()
        self.branches = nn.ModuleList(
            PoolBranch(ch, 8, b, norm=not (fixed and b == 1)) for b in (1, 2, 4)
        )

    def forward(self, x):
        return torch.cat([x] + [b(x) for b in self.branches], 1)


class NetG(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.pyramid = PyramidPooling(16, fixed)
        self.tail = nn.Sequential(
            nn.Conv2d(40, 16, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 1)
        )

    def forward(self, x):
        return self.tail(self.pyramid(self.head(x)))


def exposures(n, g, size=20):
    detail = F.interpolate(
        torch.randn(n, 1, 10, 10, generator=g),
        size=(size, size),
        mode="bilinear",
        align_corners=False,
    )
    detail = detail - detail.mean((2, 3), keepdim=True)
    level = torch.rand(n, 1, 1, 1, generator=g) * 2 - 1
    x = 0.8 * detail + level + 0.1 * torch.randn(n, 1, size, size, generator=g)
    return x, 0.8 * detail + torch.sin(2.5 * level) - 0.6 * level


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(110 + seed)
    X, Y = exposures(500, g)
    Xv, Yv = exposures(100, g)
    model = NetG(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    curve = []
    with observe(model, opt):
        for epoch in range(8):
            for i in torch.randperm(len(X)).split(12):
                loss = F.mse_loss(model(X[i]), Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        m = F.mse_loss(model(Xv), Yv).item()
    return {"metric": m, "better": "lower", "curve": curve}
