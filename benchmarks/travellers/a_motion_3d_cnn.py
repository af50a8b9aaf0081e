"""A 3D CNN recognises motion in clips; milestones in epochs, but scheduler.step() in the batch loop."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
from torch.optim.lr_scheduler import MultiStepLR

ID = "video-3dcnn-milestones-per-batch"
TRUTH = {
    "mechanisms": ["learning_rate_schedule_bug", "learning_rate_too_low"],
    "layers": None,
    "onset": (5, 14),
}


@dataclass
class Config:
    epochs: int = 18
    batch_size: int = 24
    lr: float = 0.02
    milestones: tuple = (6, 10, 14)
    frames: int = 6
    size: int = 16
    classes: int = 8


def make_clips(n, cfg, rng):
    """A soft blob that crosses a noisy scene in one of eight directions at a random speed."""
    t = np.arange(cfg.frames).reshape(1, -1, 1, 1)
    yy, xx = np.mgrid[: cfg.size, : cfg.size]
    label = rng.integers(0, cfg.classes, n)
    angle = (2 * np.pi * label / cfg.classes + rng.normal(0, 0.12, n)).reshape(-1, 1, 1, 1)
    speed = rng.uniform(0.7, 1.5, (n, 1, 1, 1))
    step = t - (cfg.frames - 1) / 2
    cy = rng.uniform(6, 10, (n, 1, 1, 1)) + speed * step * np.sin(angle)
    cx = rng.uniform(6, 10, (n, 1, 1, 1)) + speed * step * np.cos(angle)
    clip = np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / 5.0)
    clip = 2.0 * clip + 0.5 * rng.standard_normal(clip.shape)
    return torch.tensor(clip, dtype=torch.float32).unsqueeze(1), torch.tensor(label)


def conv3d(cin, cout, stride=(1, 2, 2)):
    return nn.Sequential(
        nn.Conv3d(cin, cout, 3, stride=stride, padding=1),
        nn.GroupNorm(4, cout),
        nn.ReLU(inplace=True),
    )


class MotionNet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = conv3d(1, 8)
        self.layer1 = conv3d(8, 16)
        self.layer2 = conv3d(16, 32, stride=(2, 2, 2))
        self.fc = nn.Linear(32 * 4 * (cfg.frames // 2), cfg.classes)

    def forward(self, clip):
        return self.fc(self.layer2(self.layer1(self.stem(clip))).flatten(1))


def train(observe, seed=0, fixed=False):
    cfg = Config()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = make_clips(600, cfg, rng)
    xv, yv = make_clips(300, cfg, rng)
    model = MotionNet(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9, weight_decay=1e-4)
    scheduler = MultiStepLR(optimizer, milestones=cfg.milestones, gamma=0.1)
    criterion = nn.CrossEntropyLoss()
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg.epochs):
            for idx in torch.randperm(len(x)).split(cfg.batch_size):
                optimizer.zero_grad()
                loss = criterion(model(x[idx]), y[idx])
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
                curve.append(loss.item())
            if fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
