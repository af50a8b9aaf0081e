"""A PointNet-like network classifies small point clouds of solid shapes. To make runs reproducible between machines the author filled
the weights of the shared point layers with a constant instead of random numbers. All units of such a layer compute the same
feature and get the same gradient, so the network has one feature per layer, whatever its width."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_pointnet_shapes"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["point.0", "point.2"], "onset": 0}

KINDS = 6


def clouds(n, g, points=48):
    y = torch.randint(0, KINDS, (n,), generator=g)
    d = F.normalize(torch.randn(n, points, 3, generator=g), dim=-1)
    u = torch.rand(n, points, 3, generator=g) * 2 - 1
    ang = u[..., 0] * math.pi
    face = torch.randint(0, 3, (n, points, 1), generator=g)
    sphere = d
    cube = u.scatter(2, face, u.gather(2, face).sign()) * 0.8
    cylinder = torch.stack([ang.cos() * 0.7, ang.sin() * 0.7, u[..., 1]], -1)
    tube = math.pi * u[..., 1]
    torus = torch.stack(
        [
            (0.75 + 0.3 * tube.cos()) * ang.cos(),
            (0.75 + 0.3 * tube.cos()) * ang.sin(),
            0.3 * tube.sin(),
        ],
        -1,
    )
    r = (1 - u[..., 1]) / 2
    cone = torch.stack([r * ang.cos(), r * ang.sin(), u[..., 1]], -1)
    saddle = torch.stack([u[..., 0] * 0.9, u[..., 1] * 0.9, u[..., 0] * u[..., 1]], -1)
    all_kinds = torch.stack([sphere, cube, cylinder, torus, cone, saddle])
    x = all_kinds[y, torch.arange(n)]
    turn = torch.rand(n, generator=g) * 2 * math.pi
    c, s = turn.cos()[:, None], turn.sin()[:, None]
    x = torch.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1], x[..., 2]], -1)
    return x * (1 + 0.1 * torch.randn(n, 1, 1, generator=g)) + 0.03 * torch.randn(
        n, points, 3, generator=g
    ), y


class PointNet(nn.Module):
    def __init__(self, width=48, reproducible=True):
        super().__init__()
        self.point = nn.Sequential(
            nn.Linear(3, width), nn.LeakyReLU(0.1), nn.Linear(width, width), nn.LeakyReLU(0.1)
        )
        self.head = nn.Linear(2 * width, KINDS)
        if reproducible:
            for layer in (self.point[0], self.point[2]):
                nn.init.constant_(layer.weight, 1.0 / layer.in_features)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        h = self.point(x)
        return self.head(torch.cat([h.amax(1), h.mean(1)], -1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1000)
    x, y = clouds(2000, g)
    xv, yv = clouds(500, g)
    model = PointNet(reproducible=not fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=700)
    curve = []
    with observe(model, optimizer):
        for step in range(700):
            idx = torch.randint(0, len(x), (32,), generator=g)
            loss = F.cross_entropy(model(x[idx]), y[idx], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
