"""CIFAR-style miniature ResNet on oriented gratings. BatchNorm was swapped for GroupNorm everywhere with a helper; the helper
was also used after global average pooling, where every group is one single value (16 channels per group were meant, 1 was written), so
the head sees only the norm's bias."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_resnet_groupnorm_head"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["head_norm"], "onset": (0, 0)}


def gratings(n, g, size=16, classes=6):
    y = torch.randint(0, classes, (n,), generator=g)
    ang = y.float() * math.pi / classes + 0.08 * torch.randn(n, generator=g)
    ph = 2 * math.pi * torch.rand(n, generator=g)
    xs = torch.linspace(-1, 1, size)
    yy, xx = torch.meshgrid(xs, xs, indexing="ij")
    u = xx[None] * ang.cos()[:, None, None] + yy[None] * ang.sin()[:, None, None]
    base = torch.sin(7 * u + ph[:, None, None])
    tint = 0.5 + torch.rand(n, 3, 1, 1, generator=g)
    return base[:, None] * tint + 0.7 * torch.randn(n, 3, size, size, generator=g), y


def norm(channels, per_group):
    return nn.GroupNorm(channels // per_group, channels)


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.n1 = norm(cout, 4)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.n2 = norm(cout, 4)
        self.short = (
            nn.Sequential()
            if stride == 1 and cin == cout
            else nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), norm(cout, 4))
        )

    def forward(self, x):
        h = F.relu(self.n1(self.conv1(x)))
        return F.relu(self.n2(self.conv2(h)) + self.short(x))


class MiniResNet(nn.Module):
    def __init__(self, head_per_group, classes=6, widths=(12, 24, 32)):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        layers, c = [], widths[0]
        for i, w in enumerate(widths):
            layers.append(BasicBlock(c, w, 1 if i == 0 else 2))
            c = w
        self.layers = nn.ModuleList(layers)
        self.head_norm = norm(c, head_per_group)
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.stem(x)
        for blk in self.layers:
            x = blk(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(self.head_norm(x).flatten(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 11)
    xtr, ytr = gratings(1200, g)
    xte, yte = gratings(400, g)
    model = MiniResNet(head_per_group=16 if fixed else 1)
    opt = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    epochs, bs = 8, 40
    steps = epochs * (len(xtr) // bs)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.08, total_steps=steps)
    curve = []
    with observe(model, opt):
        for ep in range(epochs):
            perm = torch.randperm(len(xtr), generator=g)
            for i in range(0, len(perm), bs):
                idx = perm[i : i + bs]
                loss = F.cross_entropy(model(xtr[idx]), ytr[idx], label_smoothing=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xte).argmax(1) == yte).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
