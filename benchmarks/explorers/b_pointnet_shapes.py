"""PointNet on synthetic solids: the between-epoch reshuffle draws one permutation for the clouds
and another one for the labels, so from the second epoch on the labels are misaligned."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "pointnet-epoch-reshuffle"
TRUTH = {"mechanisms": ["label_noise"], "layers": None, "onset": 40}

NAMES = ["sphere", "torus", "cylinder", "cone", "saddle"]


def sample_shape(kind, n, gen):
    u, v = torch.rand(2, n, generator=gen)
    a, b = 2 * math.pi * u, 2 * math.pi * v
    if kind == "sphere":
        z = 2 * v - 1
        r = (1 - z**2).sqrt()
        p = [r * a.cos(), r * a.sin(), z]
    elif kind == "torus":
        r = 0.75 + 0.3 * b.cos()
        p = [r * a.cos(), r * a.sin(), 0.3 * b.sin()]
    elif kind == "cylinder":
        p = [0.6 * a.cos(), 0.6 * a.sin(), 2 * v - 1]
    elif kind == "cone":
        r = 0.9 * v.sqrt()
        p = [r * a.cos(), r * a.sin(), 1 - 2 * v.sqrt()]
    else:
        x, y = 2 * u - 1, 2 * v - 1
        p = [x, y, x * x - y * y]
    return torch.stack(p) + 0.08 * torch.randn(3, n, generator=gen)


class ShapeSet:
    def __init__(self, per_class, gen, points=64, aligned=True):
        self.gen, self.aligned = gen, aligned
        self.y = torch.arange(len(NAMES)).repeat(per_class)
        self.x = torch.stack([sample_shape(NAMES[k], points, gen) for k in self.y.tolist()])
        scale = 0.8 + 0.4 * torch.rand(len(self.y), 3, 1, generator=gen)
        self.x = self.x * scale

    def __len__(self):
        return len(self.y)

    def order(self):
        return torch.randperm(len(self), generator=self.gen)

    def reshuffle(self):
        idx = self.order()
        self.x, self.y = self.x[idx], self.y[idx if self.aligned else self.order()]

    def batches(self, size):
        for i in range(0, len(self) - size + 1, size):
            yield self.x[i : i + size], self.y[i : i + size]


class PointNet(nn.Module):
    def __init__(self, classes=len(NAMES)):
        super().__init__()
        widths = [3, 32, 64, 128]
        layers = []
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Conv1d(a, b, 1, bias=False), nn.BatchNorm1d(b), nn.ReLU()]
        self.local = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, pts):
        return self.head(self.local(pts).amax(-1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    data = ShapeSet(240, gen, aligned=fixed)
    test = ShapeSet(60, torch.Generator().manual_seed(seed + 999))
    model = PointNet()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    curve = []
    with observe(model, opt):
        for epoch in range(9):
            if epoch > 0:
                data.reshuffle()
            for x, y in data.batches(30):
                loss = F.cross_entropy(model(x), y)
                opt.zero_grad(set_to_none=True)
                loss.backward()
                opt.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(test.x).argmax(1) == test.y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
