"""Small convolutional network on shapes with a home-made inverted dropout whose p became the probability to KEEP a unit, while the caller still means the
probability to drop: p = 0.1 drops nine of ten units. Reported in v-iashin/CS231n pull request #8."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_cs231n_dropout_keep"
TRUTH = {"mechanisms": ["excessive_dropout"], "layers": ["drop1", "drop2"], "onset": (0, 0)}


class InvertedDropout(nn.Module):
    def __init__(self, p, p_is_drop):
        super().__init__()
        self.keep = 1 - p if p_is_drop else p

    def forward(self, x):
        if not self.training:
            return x
        mask = (torch.rand_like(x) < self.keep) / self.keep
        return x * mask


class ThreeLayerConvNet(nn.Module):
    def __init__(self, p=0.1, p_is_drop=False, classes=8):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv2d(12, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 16, 48)
        self.fc2 = nn.Linear(48, classes)
        self.drop1 = InvertedDropout(p, p_is_drop)
        self.drop2 = InvertedDropout(p, p_is_drop)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.drop1(x.flatten(1))
        x = self.drop2(F.relu(self.fc1(x)))
        return self.fc2(x)


def draw(n, g, s=16):
    y, x = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    lab = torch.randint(0, 8, (n,), generator=g)
    c = 6 + 4 * torch.rand(n, 2, 1, 1, generator=g)
    r = 3 + 2.5 * torch.rand(n, 1, 1, generator=g)
    dx, dy = x - c[:, 0], y - c[:, 1]
    rad = (dx**2 + dy**2).sqrt()
    l1 = dx.abs() + dy.abs()
    li = torch.maximum(dx.abs(), dy.abs())
    shapes = [
        rad < r,
        (rad < r) & (rad > r - 1.6),
        li < r,
        (li < r) & (li > r - 1.6),
        l1 < r * 1.2,
        ((dx.abs() < 1) | (dy.abs() < 1)) & (li < r),
        ((dx - dy).abs() < 1.4) & (li < r),
        ((dx + dy).abs() < 1.4) & (li < r),
    ]
    img = torch.stack(shapes, 1)[torch.arange(n), lab].float()[:, None]
    return img + 0.35 * torch.randn(img.shape, generator=g), lab


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    X, y = draw(2000, g)
    Xv, yv = draw(500, g)
    model = ThreeLayerConvNet(p=0.1, p_is_drop=fixed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    curve = []
    with observe(model, optimizer):
        for epoch in range(18):
            model.train()
            for idx in torch.randperm(len(X)).split(40):
                loss = F.cross_entropy(model(X[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
