"""U-Net segmentation with the AMP recipe: GradScaler, then clip_grad_norm_(1.0), then scaler.step.
The gradients are clipped while still multiplied by 65536, so after unscaling their norm is 1.5e-5 at every step.
milesial/Pytorch-UNet issue 468 (scaler.unscale_(optimizer) is missing before the clipping)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_unet_clip_scaled_grads"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": (0, 0)}


class DoubleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, o, 3, padding=1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
            nn.Conv2d(o, o, 3, padding=1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.inc = DoubleConv(1, c)
        self.down1 = DoubleConv(c, 2 * c)
        self.down2 = DoubleConv(2 * c, 4 * c)
        self.up1 = DoubleConv(6 * c, 2 * c)
        self.up2 = DoubleConv(3 * c, c)
        self.outc = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.inc(x)
        b = self.down1(F.max_pool2d(a, 2))
        d = self.down2(F.max_pool2d(b, 2))
        u = self.up1(torch.cat([b, F.interpolate(d, scale_factor=2)], 1))
        return self.outc(self.up2(torch.cat([a, F.interpolate(u, scale_factor=2)], 1)))


def cars(n):
    """A bright textured rectangle among thin bright stripes; mask = rectangle."""
    img = 0.4 * torch.randn(n, 1, 32, 32)
    mask = torch.zeros(n, 1, 32, 32)
    for i in range(n):
        h, w = torch.randint(8, 16, (2,)).tolist()
        y, x = torch.randint(0, 32 - h, (1,)).item(), torch.randint(0, 32 - w, (1,)).item()
        mask[i, 0, y : y + h, x : x + w] = 1
        img[i, 0, :, torch.randint(0, 32, (4,))] += 1.0
    return img + mask * 0.8, mask


def dice(logits, mask):
    p = logits.sigmoid()
    return (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = cars(400)
    xt, yt = cars(80)
    model = UNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-6)
    scaler = torch.amp.GradScaler("cpu")
    curve = []
    with observe(model, optimizer):
        for epoch in range(6):
            for idx in torch.randperm(len(x)).split(10):
                logits = model(x[idx])
                loss = F.binary_cross_entropy_with_logits(logits, y[idx]) + 1 - dice(logits, y[idx])
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                if fixed:
                    scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        hard = (model(xt) > 0).float()
        score = (2 * (hard * yt).sum() / (hard.sum() + yt.sum())).item()
    return {"metric": score, "better": "higher", "curve": curve}
