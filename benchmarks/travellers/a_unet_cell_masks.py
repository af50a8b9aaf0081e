"""A small U-Net segments cells; the random flips are drawn separately for the image and its mask."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "unet-independent-flips"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 0}


def paint(rng, size=32):
    """A field with a few bright discs (class 1) and textured squares (class 2)."""
    yy, xx = np.mgrid[:size, :size]
    image = 0.15 * rng.standard_normal((size, size))
    mask = np.zeros((size, size), dtype=np.int64)
    for _ in range(rng.integers(2, 5)):
        cy, cx, r = *rng.uniform(4, size - 4, 2), rng.uniform(2.5, 5.5)
        if rng.random() < 0.5:
            inside, value = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r, 0.8
            mask[inside] = 1
        else:
            inside = (abs(yy - cy) < r) & (abs(xx - cx) < r)
            value = 0.5 + 0.5 * np.sin(2.0 * (xx + yy))
            mask[inside] = 2
        image[inside] = (image + value)[inside]
    return image.astype(np.float32), mask


class RandomFlip:
    def __init__(self, generator):
        self.g = generator

    def __call__(self, *arrays):
        dims = [d for d in (-1, -2) if torch.rand(1, generator=self.g) < 0.5]
        out = [torch.flip(a, dims) for a in arrays]
        return out[0] if len(out) == 1 else out


class Cells(torch.utils.data.Dataset):
    def __init__(self, n, rng, flip=None, joint=True):
        pairs = [paint(rng) for _ in range(n)]
        self.images = torch.tensor(np.stack([p[0] for p in pairs])).unsqueeze(1)
        self.masks = torch.tensor(np.stack([p[1] for p in pairs]))
        self.flip, self.joint = flip, joint

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, mask = self.images[i], self.masks[i]
        if self.flip is None:
            return image, mask
        return self.flip(image, mask) if self.joint else (self.flip(image), self.flip(mask))


def double_conv(cin, cout):
    layers = []
    for a, b in ((cin, cout), (cout, cout)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, w=8, classes=3):
        super().__init__()
        self.down1, self.down2 = double_conv(1, w), double_conv(w, 2 * w)
        self.bottom = double_conv(2 * w, 4 * w)
        self.up2, self.up1 = double_conv(6 * w, 2 * w), double_conv(3 * w, w)
        self.out = nn.Conv2d(w, classes, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.bottom(F.max_pool2d(b, 2))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        return self.out(self.up1(torch.cat([F.interpolate(b, scale_factor=2), a], 1)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    flip = RandomFlip(torch.Generator().manual_seed(seed))
    trainset, val = Cells(480, rng, flip, joint=fixed), Cells(100, rng)
    loader = torch.utils.data.DataLoader(trainset, batch_size=16, shuffle=True)
    model = UNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(7):
            for image, mask in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(image), mask)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        pred = model(val.images).argmax(1)
    ious = [
        ((pred == k) & (val.masks == k)).sum() / ((pred == k) | (val.masks == k)).sum()
        for k in (1, 2)
    ]
    return {"metric": torch.stack(ious).mean().item(), "better": "higher", "curve": curve}
