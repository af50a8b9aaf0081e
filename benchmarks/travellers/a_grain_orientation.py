"""A ResNet reads grain orientation; GroupNorm with a channel per group sits on 1x1 pooled features."""

import math

import numpy as np
import torch
import torch.nn as nn

ID = "resnet-groupnorm-on-pooled-features"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["neck.2", "neck", "neck.1"],
    "onset": 0,
}


def micrographs(n, rng, size=20):
    """Wavy grain at a random angle and pitch; target: cos/sin of the double angle, log pitch."""
    yy, xx = np.mgrid[:size, :size] - (size - 1) / 2
    theta, pitch = rng.uniform(0, math.pi, (n, 1, 1)), np.exp(rng.uniform(1.1, 1.9, (n, 1, 1)))
    along = xx * np.cos(theta) + yy * np.sin(theta)
    across = -xx * np.sin(theta) + yy * np.cos(theta)
    phase = rng.uniform(0, 2 * math.pi, (n, 1, 1)) + 0.5 * np.sin(across / 3)
    image = np.sin(2 * math.pi * along / pitch + phase) + 0.6 * rng.standard_normal((n, size, size))
    target = np.stack([np.cos(2 * theta), np.sin(2 * theta), (np.log(pitch) - 1.5) / 0.25], 1)
    as_tensor = lambda a: torch.tensor(a, dtype=torch.float32)  # noqa: E731
    return as_tensor(image).unsqueeze(1), as_tensor(target[..., 0, 0])


def norm(channels, groups):
    return nn.GroupNorm(min(groups, channels), channels)


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride, groups):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.norm1 = norm(cout, groups)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.norm2 = norm(cout, groups)
        self.skip = nn.Conv2d(cin, cout, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        h = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.skip(x) + self.norm2(self.conv2(h)))


class GrainNet(nn.Module):
    def __init__(self, width=16, groups=32):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 5, 2, 2)
        self.stages = nn.Sequential(
            BasicBlock(width, width, 1, groups), BasicBlock(width, 2 * width, 2, groups)
        )
        self.neck = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(2 * width, 2 * width, 1, bias=False),
            norm(2 * width, groups),
            nn.SiLU(),
        )
        self.head = nn.Linear(2 * width, 3)

    def forward(self, x):
        return self.head(self.neck(self.stages(self.stem(x))).flatten(1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xv, yv = micrographs(300, rng)
    model = GrainNet(groups=4 if fixed else 32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    steps = 420
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    criterion = nn.SmoothL1Loss()
    curve = []
    with observe(model, optimizer):
        for _ in range(steps):
            x, y = micrographs(24, rng)
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mae = (model(xv) - yv).abs().mean().item()
    return {"metric": mae, "better": "lower", "curve": curve}
