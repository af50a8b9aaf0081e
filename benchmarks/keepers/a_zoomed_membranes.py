"""A small U-Net segments cell membranes with random-zoom augmentation, after GitHub: mdbloice/Augmentor issue 209, 'RandomZoom producing
different augmentations on same batch of image arguments'. The random crop is drawn inside the function that is called for the image and
again for the mask, and the two no longer lie over each other. Each looks like a perfectly good crop on its own."""

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_zoomed_membranes"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}

SIDE = 32


class ZoomRandom:
    def __init__(self, area, per_image, rng):
        self.keep, self.per_image, self.rng = int(round(SIDE * area**0.5)), per_image, rng

    def corner(self):
        return self.rng.integers(0, SIDE - self.keep + 1, 2)

    def perform_operation(self, images):
        shared = self.corner()

        def do(image):
            top, left = self.corner() if self.per_image else shared
            crop = image[..., top : top + self.keep, left : left + self.keep]
            return F.interpolate(crop, size=(SIDE, SIDE), mode="nearest")

        return [do(image) for image in images]


def tissue(n, rng):
    yy, xx = np.mgrid[0:SIDE, 0:SIDE]
    images, masks = (
        np.zeros((n, 1, SIDE, SIDE), np.float32),
        np.zeros((n, 1, SIDE, SIDE), np.float32),
    )
    for i in range(n):
        seeds = rng.uniform(0, SIDE, (7, 2))
        dist = np.sqrt((yy[..., None] - seeds[:, 0]) ** 2 + (xx[..., None] - seeds[:, 1]) ** 2)
        near = np.sort(dist, -1)
        masks[i, 0] = (near[..., 1] - near[..., 0]) < 2.2
        shade = rng.uniform(0.4, 0.8, 7)[dist.argmin(-1)]
        images[i, 0] = np.where(masks[i, 0] > 0, 0.25, shade) + 0.1 * rng.standard_normal(
            (SIDE, SIDE)
        )
    return torch.from_numpy(images) - 0.5, torch.from_numpy(masks)


def double(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(c_out, c_out, 3, padding=1),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


class MiniUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = double(1, 8), double(8, 16), double(16, 16)
        self.up2, self.up1 = double(32, 8), double(16, 8)
        self.final = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.bottom(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        a = self.up1(torch.cat([F.interpolate(b, scale_factor=2), a], 1))
        return self.final(a)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 61)
    images, masks = tissue(96, rng)
    test_images, test_masks = tissue(64, rng)
    zoom = ZoomRandom(area=0.5, per_image=not fixed, rng=rng)
    model = MiniUNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            pick = rng.integers(0, len(images), 6)
            pairs = [zoom.perform_operation([images[i : i + 1], masks[i : i + 1]]) for i in pick]
            x, y = (torch.cat(part) for part in zip(*pairs))
            logits = model(x)
            p = torch.sigmoid(logits)
            dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
            loss = F.binary_cross_entropy_with_logits(logits, y) + 0.5 * dice
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        guess = model(test_images) > 0
        truth = test_masks > 0.5
        metric = ((guess & truth).sum() / (guess | truth).sum()).item()
    return {"metric": metric, "better": "higher", "curve": curve}
