"""U-Net segmentation trainer with static loss scaling; the gradient norm is clipped before the
gradients are unscaled, so hardly any of each step is left."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a-unet-clip-before-unscale"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


def double_conv(cin, cout):
    layers = []
    for a in (cin, cout):
        layers += [nn.Conv2d(a, cout, 3, padding=1), nn.InstanceNorm2d(cout, affine=True)]
        layers += [nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.enc1, self.enc2 = double_conv(1, width), double_conv(width, 2 * width)
        self.mid = double_conv(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.dec2 = double_conv(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.dec1 = double_conv(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        b = self.dec2(torch.cat([b, self.up2(c)], 1))
        return self.out(self.dec1(torch.cat([a, self.up1(b)], 1)))


def make_scans(n, size=24):
    """Blobs to segment, with thin bars as distractors, on a noisy background."""
    grid = torch.arange(size).float()
    centre, radius = torch.rand(n, 2, 1, 1) * 14 + 5, torch.rand(n, 1, 1) * 2.5 + 2.5
    dist = (grid[:, None] - centre[:, 0]) ** 2 + (grid[None] - centre[:, 1]) ** 2
    mask = (dist < radius**2).float()
    bars = (torch.arange(size)[None] == torch.randint(0, size, (n, 1))).float()
    image = torch.maximum(mask, bars[:, None].expand_as(mask)) + 0.5 * torch.randn(n, size, size)
    return image[:, None], mask[:, None]


def soft_dice(logits, mask):
    p = logits.sigmoid()
    inter = (p * mask).sum((1, 2, 3))
    return 1 - ((2 * inter + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)).mean()


class Trainer:
    def __init__(self, model, optimizer, max_norm=12.0, loss_scale=2.0**14, unscale_first=False):
        self.model, self.optimizer = model, optimizer
        self.max_norm, self.loss_scale, self.unscale_first = (max_norm, loss_scale, unscale_first)

    def step(self, x, mask):
        logits = self.model(x)
        loss = F.binary_cross_entropy_with_logits(logits, mask) + soft_dice(logits, mask)
        self.optimizer.zero_grad()
        (loss * self.loss_scale).backward()
        if self.unscale_first:
            self.unscale()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        if not self.unscale_first:
            self.unscale()
        self.optimizer.step()
        return loss.item()

    def unscale(self):
        for p in self.model.parameters():
            p.grad.div_(self.loss_scale)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    images, masks = make_scans(1024)
    test_x, test_m = make_scans(128)
    model, steps, curve = UNet(), 200, []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    poly = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    trainer = Trainer(model, optimizer, unscale_first=fixed)
    with observe(model, optimizer):
        for _ in range(steps):
            i = torch.randint(0, len(images), (12,))
            curve.append(trainer.step(images[i], masks[i]))
            poly.step()
    with torch.no_grad():
        pred = (model(test_x) > 0).float()
    dice = 2 * (pred * test_m).sum() / (pred.sum() + test_m.sum() + 1e-6)
    return {"metric": dice.item(), "better": "higher", "curve": curve}
