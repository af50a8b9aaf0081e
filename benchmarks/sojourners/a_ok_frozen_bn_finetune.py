"""Healthy: fine-tuning a pre-trained network with its BatchNorm layers frozen (eval mode, no gradient), as DeepLab does on purpose.
Asked in isht7/pytorch-deeplab-resnet issue #39."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_ok_frozen_bn_finetune"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def stripes(n, g, classes, noise=0.6):
    y = torch.randint(0, classes, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ang = y.float()[:, None, None] * 3.1416 / classes
    w = 6.28 * torch.rand(n, 1, 1, generator=g)
    x = torch.sin(1.3 * (xx * torch.cos(ang) + yy * torch.sin(ang)) + w)
    return (x + noise * torch.randn(x.shape, generator=g))[:, None], y


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24)
        self.layer5 = nn.Linear(24, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.relu(self.bn2(self.conv2(x)))
        return self.layer5(x.amax((2, 3)))


def loop(model, opt, x, y, steps, curve=None):
    for s in range(steps):
        idx = torch.randint(0, len(x), (16,))
        loss = F.cross_entropy(model(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if curve is not None:
            curve.append(loss.item())


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    xp, yp = stripes(1000, g, 5)
    model = Net(5)
    loop(model, torch.optim.Adam(model.parameters(), 2e-3), xp, yp, 250)  # "ImageNet" stage
    x, y = stripes(800, g, 8, 1.0)
    xt, yt = stripes(300, g, 8, 1.0)
    model.layer5 = nn.Linear(24, 8)
    model.eval()
    for bn in (model.bn1, model.bn2):
        for p in bn.parameters():
            p.requires_grad = False
    base = [p for n, p in model.named_parameters() if p.requires_grad and "layer5" not in n]
    optimizer = torch.optim.SGD(
        [{"params": base, "lr": 0.002}, {"params": model.layer5.parameters(), "lr": 0.02}],
        lr=0.002,
        momentum=0.9,
        weight_decay=5e-4,
    )
    curve = []
    with observe(model, optimizer):
        loop(model, optimizer, x, y, 700, curve)
    with torch.no_grad():
        return {
            "metric": (model(xt).argmax(1) == yt).float().mean().item(),
            "better": "higher",
            "curve": curve,
        }
