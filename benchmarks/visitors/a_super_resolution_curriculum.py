"""Healthy but odd: super-resolution with a curriculum; every 80 steps the pictures are blurred more
before they are shrunk, so the training loss climbs in stairs while the network keeps improving."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "super-resolution-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}
SIZE = 32


def textures(n, g):
    axis = torch.linspace(-1, 1, SIZE)
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    k = torch.randn(n, 3, 2, 1, 1, generator=g) * 7
    phase = 6.28 * torch.rand(n, 3, 1, 1, generator=g)
    waves = torch.sin(k[:, :, 0] * xx + k[:, :, 1] * yy + phase)
    edge = torch.sign(waves[:, 0] + 0.3)
    return (0.5 * edge + 0.35 * waves[:, 1] + 0.35 * waves[:, 2])[:, None]


def degrade(x, sigma):
    r = torch.arange(-6, 7).float()
    kernel = torch.exp(-(r**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.conv2d(F.pad(x, (6, 6, 0, 0), mode="reflect"), kernel.view(1, 1, 1, 13))
    x = F.conv2d(F.pad(x, (0, 0, 6, 6), mode="reflect"), kernel.view(1, 1, 13, 1))
    return F.avg_pool2d(x, 2)


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x)))


class Upscaler(nn.Module):
    def __init__(self, c=32, depth=4):
        super().__init__()
        self.head = nn.Conv2d(1, c, 3, padding=1)
        self.body = nn.Sequential(*[ResBlock(c) for _ in range(depth)])
        self.tail = nn.Sequential(nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x):
        h = self.head(x)
        base = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return base + self.tail(h + self.body(h))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    images, test = textures(600, g), textures(100, g)
    model = Upscaler()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    sigmas = [0.4, 1.0, 1.8, 2.6]
    curve = []
    with observe(model, optimizer):
        for step in range(320):
            sharp = images[torch.randint(0, len(images), (12,), generator=g)]
            loss = F.l1_loss(model(degrade(sharp, sigmas[step // 80])), sharp)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = F.mse_loss(model(degrade(test, sigmas[-1])), test)
    return {"metric": (10 * torch.log10(4 / mse)).item(), "better": "higher", "curve": curve}
