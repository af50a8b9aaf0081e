"""Patch-based segmentation trainer (medical 1-D scans) whose queue draws its own permutation for images and another one for
ground truth, so they do not belong together: mlcommons/GaNDLF pull 870 (and 868)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_patches_shuffled_apart"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": (0, 0)}


class ConvBlock(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(
            nn.Conv1d(i, o, 5, padding=2), nn.InstanceNorm1d(o, affine=True), nn.LeakyReLU(0.1)
        )


class UNet1d(nn.Module):
    def __init__(self, ch=12):
        super().__init__()
        self.d1, self.d2, self.mid = (
            ConvBlock(1, ch),
            ConvBlock(ch, 2 * ch),
            ConvBlock(2 * ch, 2 * ch),
        )
        self.u1 = ConvBlock(4 * ch, ch)
        self.u0 = ConvBlock(2 * ch, ch)
        self.out = nn.Conv1d(ch, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool1d(a, 2))
        c = self.mid(F.max_pool1d(b, 2))
        u = self.u1(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        u = self.u0(torch.cat([F.interpolate(u, scale_factor=2), a], 1))
        return self.out(u)


class PatchQueue:
    """Holds patches of all subjects, refilled at every epoch."""

    def __init__(self, image, label, batch, same_order):
        self.image, self.label, self.batch, self.same = image, label, batch, same_order

    def __iter__(self):
        order = torch.randperm(len(self.image))
        gt_order = order if self.same else torch.randperm(len(self.label))
        for a, b in zip(order.split(self.batch), gt_order.split(self.batch)):
            yield self.image[a], self.label[b]


def scans(n, g):
    t = torch.arange(48.0)
    c, w = 8 + 32 * torch.rand(n, 1, generator=g), 3 + 5 * torch.rand(n, 1, generator=g)
    lab = ((t - c).abs() < w).float()
    x = (
        torch.randn(n, 48, generator=g) * 0.6
        + 1.2 * lab
        + 0.8 * torch.sin(0.3 * t + 6 * torch.rand(n, 1, generator=g))
    )
    return x[:, None], lab[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = scans(900, g)
    vx, vy = scans(200, g)
    model = UNet1d()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    queue = PatchQueue(x, y, 30, fixed)
    curve = []
    with observe(model, optimizer):
        for epoch in range(14):
            for image, label in queue:
                logit = model(image)
                p = logit.sigmoid()
                dice = 1 - (2 * (p * label).sum((1, 2)) + 1) / ((p + label).sum((1, 2)) + 1)
                loss = F.binary_cross_entropy_with_logits(logit, label) + 0.5 * dice.mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        p = (model(vx) > 0).float()
        score = ((2 * (p * vy).sum((1, 2)) + 1) / ((p + vy).sum((1, 2)) + 1)).mean().item()
    return {"metric": score, "better": "higher", "curve": curve}
