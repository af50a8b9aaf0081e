"""Weather-map classifier with hand-written conv / instance-norm blocks.
Bug: the last block normalises each channel over its spatial extent, which is 1x1 there: (x - mean) is exactly 0, the features are
only the learned offset, whatever the image."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_instancenorm_1x1"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["enc4.norm", "enc4"],
    "onset": (0, 0),
}


class SpatialNorm(nn.Module):
    def __init__(self, c, eps=1e-5):
        super().__init__()
        self.scale, self.shift, self.eps = (
            nn.Parameter(torch.ones(c)),
            nn.Parameter(0.1 * torch.randn(c)),
            eps,
        )

    def forward(self, x):
        mu = x.mean((2, 3), keepdim=True)
        sd = ((x - mu).square().mean((2, 3), keepdim=True) + self.eps).sqrt()
        return (x - mu) / sd * self.scale.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)


class ChannelNorm(nn.Module):
    """over channels instead of positions"""

    def __init__(self, c, eps=1e-5):
        super().__init__()
        self.scale, self.shift, self.eps = (
            nn.Parameter(torch.ones(c)),
            nn.Parameter(0.1 * torch.randn(c)),
            eps,
        )

    def forward(self, x):
        mu = x.mean(1, keepdim=True)
        sd = ((x - mu).square().mean(1, keepdim=True) + self.eps).sqrt()
        return (x - mu) / sd * self.scale.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)


class Down(nn.Module):
    def __init__(self, i, o, norm):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(o, i, 4, 4) / math.sqrt(16 * i))
        self.norm = norm(o)

    def forward(self, x):
        return F.elu(self.norm(F.conv2d(x, self.kernel, stride=2, padding=1)))


class MapNet(nn.Module):
    def __init__(self, n_cls=4, fixed=False):
        super().__init__()
        self.enc1, self.enc2, self.enc3 = (
            Down(2, 12, SpatialNorm),
            Down(12, 24, SpatialNorm),
            Down(24, 32, SpatialNorm),
        )
        self.enc4 = Down(32, 48, ChannelNorm if fixed else SpatialNorm)
        self.U = nn.Parameter(torch.randn(48, n_cls) / 7)
        self.u0 = nn.Parameter(torch.zeros(n_cls))

    def forward(self, x):
        z = self.enc4(self.enc3(self.enc2(self.enc1(x))))
        return z.flatten(1) @ self.U + self.u0


def maps(n, g, S=16):
    """pressure and humidity fields; class = quadrant of the low relative to the moist front"""
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, S), torch.linspace(-1, 1, S), indexing="ij")
    y = torch.randint(0, 4, (n,), generator=g)
    cx = torch.where(y % 2 == 0, -0.45, 0.45) + 0.12 * torch.randn(n, generator=g)
    cy = torch.where(y // 2 == 0, -0.45, 0.45) + 0.12 * torch.randn(n, generator=g)
    low = -torch.exp(-((xx - cx[:, None, None]) ** 2 + (yy - cy[:, None, None]) ** 2) / 0.15)
    ang = 6.28 * torch.rand(n, 1, 1, generator=g)
    hum = torch.sin(3 * (ang.cos() * xx + ang.sin() * yy))
    x = torch.stack([2 * low + 0.5 * hum, hum - low], 1)
    return x + 0.7 * torch.randn(n, 2, S, S, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 121)
    X, Y = maps(3500, g)
    model = MapNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(5):
            for j in torch.randperm(3000, generator=g).split(32):
                z = model(X[j])
                loss = -(z - z.logsumexp(1, keepdim=True)).gather(1, Y[j][:, None]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(X[3000:]).argmax(1) == Y[3000:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
