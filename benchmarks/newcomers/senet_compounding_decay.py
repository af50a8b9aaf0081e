"""SE-ResNet on textured shapes; adjust_learning_rate multiplies the current rate by 0.2 ** (epoch // 8) every epoch."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "senet-compounding-decay"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": [], "onset": (128, 192)}
EPOCHS, BATCH, BASE_LR = 24, 32, 0.05


def shapes(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    y = torch.randint(0, 6, (n,), generator=g)
    cx, cy = (5 + 6 * torch.rand(n, 1, 1, generator=g) for _ in range(2))
    r = 2.5 + 2 * torch.rand(n, 1, 1, generator=g)
    dx, dy = (xx - cx) / r, (yy - cy) / r
    kinds = torch.stack(
        [
            dx**2 + dy**2 < 1,
            torch.maximum(dx.abs(), dy.abs()) < 0.9,
            dx.abs() + dy.abs() < 1.2,
            ((dx.abs() < 0.3) | (dy.abs() < 0.3)) & (dx**2 + dy**2 < 1.2),
            ((dx**2 + dy**2 - 0.8).abs() < 0.35),
            (dy > -0.8) & (dy < 0.8) & (dx.abs() < 0.5 + 0.6 * dy),
        ]
    ).float()
    m = kinds[y, torch.arange(n)]
    tex = torch.sin(xx * (0.5 + torch.rand(n, 1, 1, generator=g)) + yy)
    img = m * (0.8 + 0.6 * torch.rand(n, 1, 1, generator=g)) + 0.3 * tex
    img = img + 0.3 * torch.randn(n, s, s, generator=g)
    return ((img - 0.2) / 0.75)[:, None], y


class SEBlock(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.se = nn.Sequential(nn.Linear(o, o // 4), nn.ReLU(), nn.Linear(o // 4, o), nn.Sigmoid())
        self.short = nn.Conv2d(i, o, 1, stride, bias=False) if i != o else nn.Identity()

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        h = h * self.se(h.mean((2, 3)))[:, :, None, None]
        return F.relu(h + self.short(x))


def adjust_learning_rate(optimizer, epoch, fixed):
    for group in optimizer.param_groups:
        if fixed:
            group["lr"] = BASE_LR * 0.2 ** (epoch // 8)
        else:
            group["lr"] *= 0.2 ** (epoch // 8)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = shapes(BATCH * 16, g)
    xv, yv = shapes(600, g)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        SEBlock(12, 16, 2),
        SEBlock(16, 32, 2),
        SEBlock(32, 32, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 6),
    )
    opt = torch.optim.SGD(model.parameters(), BASE_LR, momentum=0.9, weight_decay=5e-4)
    losses = []
    with observe(model, opt):
        for epoch in range(EPOCHS):
            adjust_learning_rate(opt, epoch, fixed)
            for idx in torch.randperm(len(x), generator=g).split(BATCH):
                xb = torch.roll(
                    x[idx], tuple(torch.randint(-2, 3, (2,), generator=g).tolist()), (2, 3)
                )
                loss = F.cross_entropy(model(xb), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        nll = F.cross_entropy(model(xv), yv).item()
    return {"metric": nll, "better": "lower", "curve": losses}
