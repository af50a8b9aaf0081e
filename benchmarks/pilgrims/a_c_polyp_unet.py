"""A small U-Net segments polyps in noisy endoscopy-like frames with BCEWithLogitsLoss, and masks are taken as sigmoid(output) > 0.5.
The network copied from a repository already ends in a sigmoid, so the loss squashes the output a second time; nothing fails,
the loss merely stalls near 0.7 as everyone on the forums asks about."""

import numpy as np
import torch
import torch.nn as nn

ID = "c_polyp_unet"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": ["out_act"], "onset": 0}


def frames(n, rng, size=32):
    yy, xx = np.mgrid[0:size, 0:size]
    img = np.zeros((n, 3, size, size), np.float32)
    mask = np.zeros((n, 1, size, size), np.float32)
    for i in range(n):
        gx, gy = rng.normal(0, 0.02, 2)
        bg = (
            gx * (xx - 16)
            + gy * (yy - 16)
            + 0.3 * np.sin(xx / rng.uniform(2, 5) + rng.uniform(0, 6))
        )
        for _ in range(rng.integers(1, 3)):
            cx, cy = rng.uniform(6, 26, 2)
            a, b = rng.uniform(2.5, 6, 2)
            th = rng.uniform(0, np.pi)
            u = (xx - cx) * np.cos(th) + (yy - cy) * np.sin(th)
            v = -(xx - cx) * np.sin(th) + (yy - cy) * np.cos(th)
            mask[i, 0][(u / a) ** 2 + (v / b) ** 2 < 1] = 1
        tint = np.array([0.8, -0.4, 0.2])[:, None, None]
        img[i] = bg + tint * mask[i] + rng.normal(0, 0.4, (3, size, size))
    return torch.from_numpy(img), torch.from_numpy(mask)


class DoubleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
            nn.Conv2d(o, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, out_act):
        super().__init__()
        self.inc = DoubleConv(3, 8)
        self.down1 = DoubleConv(8, 16)
        self.down2 = DoubleConv(16, 24)
        self.pool = nn.MaxPool2d(2)
        self.up1 = nn.ConvTranspose2d(24, 16, 2, 2)
        self.dec1 = DoubleConv(32, 16)
        self.up2 = nn.ConvTranspose2d(16, 8, 2, 2)
        self.dec2 = DoubleConv(16, 8)
        self.outc = nn.Conv2d(8, 1, 1)
        self.out_act = out_act

    def forward(self, x):
        a = self.inc(x)
        b = self.down1(self.pool(a))
        c = self.down2(self.pool(b))
        h = self.dec1(torch.cat([b, self.up1(c)], 1))
        h = self.dec2(torch.cat([a, self.up2(h)], 1))
        return self.out_act(self.outc(h))


def dice(pred, target):
    return (2 * (pred * target).sum() / (pred.sum() + target.sum() + 1e-6)).item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    imgs, masks = frames(320, rng)
    val_imgs, val_masks = frames(100, rng)
    model = UNet(nn.Identity() if fixed else nn.Sigmoid())
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)

    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(300):
            b = torch.from_numpy(rng.choice(320, 8, replace=False))
            pred = model(imgs[b])
            loss = criterion(pred, masks[b])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    model.eval()
    with torch.no_grad():
        score = dice((torch.sigmoid(model(val_imgs)) > 0.5).float(), val_masks)
    return {"metric": score, "better": "higher", "curve": curve}
