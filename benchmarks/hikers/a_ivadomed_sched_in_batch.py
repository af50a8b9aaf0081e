"""Small U-Net for lesion masks with a Dice loss; ExponentialLR is meant to step once per epoch.
The scheduler is stepped in the batch loop, so the rate is almost zero before the second epoch. After ivadomed/ivadomed pull request 55."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ivadomed_sched_in_batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 40)}


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.mid = conv(1, c), conv(c, 2 * c), conv(2 * c, 2 * c)
        self.u2, self.u1 = conv(4 * c, c), conv(2 * c, c)
        self.head = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        x = self.u2(torch.cat([F.interpolate(m, scale_factor=2), b], 1))
        x = self.u1(torch.cat([F.interpolate(x, scale_factor=2), a], 1))
        return torch.sigmoid(self.head(x))


def dice_loss(p, y, eps=1.0):
    inter = (p * y).sum((1, 2, 3))
    return -((2 * inter + eps) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + eps)).mean()


def slices(n, seed):
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    img, msk = torch.zeros(n, 1, 32, 32), torch.zeros(n, 1, 32, 32)
    for i in range(n):
        for kind in (0, 1, 1):
            cy, cx = 6 + 20 * torch.rand(2, generator=g)
            r = 2.5 + 2 * torch.rand(1, generator=g)
            d = ((yy - cy) ** 2 + (xx - cx) ** 2).sqrt()
            if kind == 0:
                blob = (d < r).float()
                msk[i, 0] = torch.maximum(msk[i, 0], blob)
            else:
                blob = ((d < r + 1) & (d > r - 0.8)).float()
            img[i, 0] += blob
    return img + 0.35 * torch.randn(img.shape, generator=g), msk


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = slices(240, 1)
    xv, yv = slices(80, 2)
    model = UNet()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.9)
    curve = []
    with observe(model, opt):
        for epoch in range(16):
            model.train()
            for i in torch.randperm(240).split(12):
                loss = dice_loss(model(x[i]), y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
                if not fixed:
                    scheduler.step()
            if fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        p = (model(xv) > 0.5).float()
        dice = -dice_loss(p, yv).item()
    return {"metric": dice, "better": "higher", "curve": curve}
