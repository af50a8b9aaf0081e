"""U-Net for cell masks in two stages (BCE, then BCE + Dice); the pasted second loop has no zero_grad()."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "unet-stage-two-no-zero-grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": [], "onset": (180, 184)}


def cells(n, g, s=24):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    mask, rim = torch.zeros(n, s, s), torch.zeros(n, s, s)
    for _ in range(4):
        cx, cy = (3 + (s - 6) * torch.rand(n, 1, 1, generator=g) for _ in range(2))
        r = 2 + 3 * torch.rand(n, 1, 1, generator=g)
        d = ((xx - cx) ** 2 + (yy - cy) ** 2).sqrt() / r
        mask = torch.maximum(mask, (d < 1).float())
        rim = torch.maximum(rim, torch.exp(-((d - 1) ** 2) * 12))
    illum = torch.randn(n, 1, 1, generator=g) * xx / s
    img = 0.5 * mask - 0.9 * rim + 0.5 * illum + 0.45 * torch.randn(n, s, s, generator=g)
    return img[:, None], mask[:, None]


def double_conv(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(),
    )


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.mid = (
            double_conv(1, c),
            double_conv(c, 2 * c),
            double_conv(2 * c, 2 * c),
        )
        self.up2 = nn.ConvTranspose2d(2 * c, 2 * c, 2, stride=2)
        self.u2 = double_conv(4 * c, c)
        self.up1 = nn.ConvTranspose2d(c, c, 2, stride=2)
        self.u1 = double_conv(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        m = self.u2(torch.cat([self.up2(m), b], 1))
        return self.out(self.u1(torch.cat([self.up1(m), a], 1)))


def dice_loss(logits, y):
    p = logits.sigmoid()
    inter = (p * y).sum((1, 2, 3))
    return (1 - (2 * inter + 1) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 1)).mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    x, y = cells(600, g)
    xv, yv = cells(128, g)
    net = UNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    history = []
    with observe(net, optimizer):
        for it in range(180):
            i = torch.randint(0, 600, (12,), generator=g)
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(net(x[i]), y[i])
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        for it in range(200):
            i = torch.randint(0, 600, (12,), generator=g)
            if fixed:
                optimizer.zero_grad()
            pred = net(x[i])
            loss = F.binary_cross_entropy_with_logits(pred, y[i]) + dice_loss(pred, y[i])
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    net.eval()
    with torch.no_grad():
        p = (net(xv) > 0).float()
    dice = 2 * (p * yv).sum() / (p.sum() + yv.sum() + 1e-6)
    return {"metric": dice.item(), "better": "higher", "curve": history}
