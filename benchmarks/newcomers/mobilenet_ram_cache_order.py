"""MobileNet; from epoch 8 on images come from a RAM cache stored in the order of the last shuffled epoch, labels by index."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "mobilenet-ram-cache-order"
TRUTH = {"mechanisms": ["label_noise"], "layers": [], "onset": (160, 170)}
N, BATCH, EPOCHS, CACHE_FROM = 640, 32, 20, 8


def leaves(n, g, s=16):
    """Five kinds of texture patches, as from a plant-disease set."""
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    y = torch.randint(0, 5, (n,), generator=g)
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    f = 0.9 + 0.5 * torch.rand(n, 1, 1, generator=g)
    r = ((xx - 8) ** 2 + (yy - 8) ** 2) ** 0.5
    kinds = [
        f * xx + ph,
        f * yy + ph,
        f * (xx + yy) * 0.7 + ph,
        f * (xx - yy) * 0.7 + ph,
        f * r + ph,
    ]
    pat = torch.stack([k.sin() for k in kinds])[y, torch.arange(n)]
    rgb = pat[:, None] * (0.4 + 0.6 * torch.rand(n, 3, 1, 1, generator=g))
    return rgb + 0.7 * torch.randn(n, 3, s, s, generator=g), y


class DSConv(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.dw = nn.Conv2d(i, i, 3, stride, 1, groups=i, bias=False)
        self.bn1 = nn.BatchNorm2d(i)
        self.pw = nn.Conv2d(i, o, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu6(self.bn2(self.pw(F.relu6(self.bn1(self.dw(x))))))


class CachedSource:
    def __init__(self, images, labels, fixed):
        self.images, self.labels, self.fixed = images, labels, fixed
        self.cache = []

    def load(self, idx, epoch):
        if epoch < CACHE_FROM:
            if epoch == CACHE_FROM - 1:
                self.cache.append((idx, self.images[idx]))
            return self.images[idx], self.labels[idx]
        if isinstance(self.cache, list):
            order, stored = (torch.cat(c) for c in zip(*self.cache))
            self.cache = stored[order.argsort()] if self.fixed else stored
        return self.cache[idx], self.labels[idx]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    source = CachedSource(*leaves(N, g), fixed)
    xv, yv = leaves(500, g)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        DSConv(16, 24, 2),
        DSConv(24, 32),
        DSConv(32, 48, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 5),
    )
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, momentum=0.5, eps=1e-3)
    losses = []
    with observe(net, opt):
        for epoch in range(EPOCHS):
            for idx in torch.randperm(N, generator=g).split(BATCH):
                x, y = source.load(idx, epoch)
                opt.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                opt.step()
                losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        acc = (net(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": losses}
