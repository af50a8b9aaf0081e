"""A small U-Net marks glacier ice in satellite scenes with cloud shadow. The learning rate is governed by ReduceLROnPlateau, built with
mode="max" when the monitored number was still the Dice score; later the loss was passed in. The better the training goes, the
more often the rate is cut, and within a few dozen steps it is practically zero."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_glacier_plateau"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (15, 25)}

SIZE = 24


def scenes(n, gen):
    noise = F.interpolate(
        torch.randn(n, 1, 6, 6, generator=gen), SIZE, mode="bicubic", align_corners=False
    )
    ice = (noise > 0.25).float()
    shadow = (
        F.interpolate(
            torch.randn(n, 1, 5, 5, generator=gen), SIZE, mode="bilinear", align_corners=False
        )
        > 0.6
    ).float()
    green = 0.3 + 0.5 * ice
    swir = 0.5 - 0.35 * ice + 0.3 * (torch.rand(n, 1, SIZE, SIZE, generator=gen) < 0.1).float()
    img = torch.cat([green, swir, 0.4 + 0.3 * noise.clamp(-1, 1).abs()], 1) * (1 - 0.65 * shadow)
    img = img + 0.2 * torch.randn(img.shape, generator=gen)
    return (img - 0.4) / 0.25, ice


class Block(nn.Sequential):
    def __init__(self, cin, cout):
        super().__init__(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
        )


class TinyUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = Block(3, 8), Block(8, 16)
        self.mid = Block(16, 24)
        self.up2, self.up1 = Block(24 + 16, 16), Block(16 + 8, 8)
        self.mask = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        a = self.up1(torch.cat([F.interpolate(b, scale_factor=2.0), a], 1))
        return self.mask(a)


def dice_loss(logit, target):
    p = torch.sigmoid(logit)
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 19)
    x, m = scenes(300, gen)
    xt, mt = scenes(100, gen)
    model = TinyUNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min" if fixed else "max", factor=0.3, patience=3
    )
    curve, smooth = [], None
    with observe(model, optimizer):
        for step in range(400):
            i = torch.randint(0, len(x), (8,), generator=gen)
            out = model(x[i])
            loss = F.binary_cross_entropy_with_logits(out, m[i]) + dice_loss(out, m[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
            smooth = loss.item() if smooth is None else 0.9 * smooth + 0.1 * loss.item()
            if step % 4 == 3:
                plateau.step(smooth)
    model.eval()
    with torch.no_grad():
        p = (model(xt) > 0).float()
        iou = ((p * mt).sum() / ((p + mt) > 0).float().sum()).item()
    return {"metric": 1 - iou, "better": "lower", "curve": curve}
