"""Transfer learning of a small residual network from a twelve-class source set to six kinds of flowers, last stage and head trainable.
The optimizer is built first and the classifier `fc` is replaced afterwards for the new number of classes, so the optimizer holds the
old head; people copy the two lines from different tutorials and no error is raised."""

import math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "c_flowers_transfer"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["fc"], "onset": 0}


def flower(kind, n, rng, size=20):
    """petal-count / colour / ring-frequency images, kind is a (petals, freq, hue) triple"""
    petals, freq, hue = kind
    yy, xx = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    cx, cy = rng.normal(0, 0.15, (2, n, 1, 1))
    r = np.sqrt((xx - cx) ** 2 + (yy - cy) ** 2)
    phi = np.arctan2(yy - cy, xx - cx) + rng.uniform(0, 2 * np.pi, (n, 1, 1))
    shape = 1 / (1 + np.exp(-10 * (0.65 + 0.25 * np.cos(petals * phi) - r)))
    ring = 0.5 + 0.5 * np.cos(freq * r)
    colour = np.array([0.5 + 0.5 * math.cos(hue + k * 2.1) for k in range(3)])
    img = (shape * ring)[:, None] * colour[None, :, None, None] + rng.normal(
        0, 0.25, (n, 3, size, size)
    )
    return img


def dataset(kinds, per_class, rng):
    x = np.concatenate([flower(k, per_class, rng) for k in kinds])
    y = np.repeat(np.arange(len(kinds)), per_class)
    p = rng.permutation(len(y))
    x = (x[p] - 0.2) / 0.35
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y[p])


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.downsample(x))


class SmallResNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer1 = Block(3, 12, 1)
        self.layer2 = Block(12, 24, 2)
        self.layer3 = Block(24, 32, 2)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def pretrained(rng):
    kinds = [(p, f, h) for p in (3, 6) for f in (4, 9, 14) for h in (0.0, 2.0)]
    x, y = dataset(kinds, 60, rng)
    net = SmallResNet(len(kinds))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(130):
        idx = torch.randint(len(y), (32,))
        opt.zero_grad()
        F.cross_entropy(net(x[idx]), y[idx]).backward()
        opt.step()
    return net


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 10)
    model = pretrained(rng)
    for p in list(model.layer1.parameters()) + list(model.layer2.parameters()):
        p.requires_grad = False

    kinds = [(4, 6, 1.0), (4, 6, 1.7), (5, 11, 1.0), (5, 11, 4.0), (8, 6, 1.0), (8, 11, 4.0)]
    x, y = dataset(kinds, 60, rng)
    x_test, y_test = dataset(kinds, 60, rng)

    if fixed:
        model.fc = nn.Linear(model.fc.in_features, len(kinds))
    optimizer = torch.optim.SGD(
        [
            {"params": model.layer3.parameters(), "lr": 1e-4},
            {"params": model.fc.parameters(), "lr": 2e-2},
        ],
        momentum=0.9,
    )
    if not fixed:
        model.fc = nn.Linear(model.fc.in_features, len(kinds))

    def freeze_bn(m):
        if isinstance(m, nn.BatchNorm2d):
            m.eval()

    curve = []
    criterion = nn.CrossEntropyLoss()
    model.train()
    model.apply(freeze_bn)
    with observe(model, optimizer):
        for epoch in range(25):
            for idx in torch.randperm(len(y)).split(24):
                model.zero_grad()
                loss = criterion(model(x[idx]), y[idx])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())

    model.eval()
    with torch.no_grad():
        acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
