"""Two-fold super-resolution of small synthetic radiographs with transposed convolutions and a Charbonnier loss. The trainer's
exponential decay was tuned per epoch, but scheduler.step() sits inside the batch loop (moved there with a warm-up recipe that wanted it
there), so the learning rate is gone within the first epochs."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from dataclasses import dataclass

ID = "a_superres_xray"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 60)}


@dataclass
class TrainConfig:
    epochs: int = 16
    batch_size: int = 16
    lr: float = 2e-3
    gamma: float = 0.88


def radiographs(rng, n, size=28):
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    out = np.zeros((n, size, size), np.float32)
    for k in range(n):
        for _ in range(rng.integers(3, 7)):
            cy, cx = rng.uniform(4, size - 4, 2)
            a, b = rng.uniform(2, 10, 2)
            th = rng.uniform(0, np.pi)
            u = (xx - cx) * np.cos(th) + (yy - cy) * np.sin(th)
            v = -(xx - cx) * np.sin(th) + (yy - cy) * np.cos(th)
            out[k] += rng.uniform(0.15, 0.5) * (
                np.clip(1.5 - (u / a) ** 2 - (v / b) ** 2, 0, 1) > 0.5
            )
    out = torch.from_numpy(1 - np.exp(-out))[:, None]
    return F.avg_pool2d(out, 2), out


class Upscaler(nn.Module):
    def __init__(self, width=14):
        super().__init__()
        self.head = nn.Conv2d(1, width, 5, padding=2)
        self.body = nn.Sequential(
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.PReLU(width),
        )
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x):
        return self.tail(F.leaky_relu(self.up(self.body(self.head(x))), 0.1))


class Trainer:
    def __init__(self, model, cfg, step_on):
        self.model, self.cfg, self.step_on = model, cfg, step_on
        self.optimizer = torch.optim.RAdam(model.parameters(), lr=cfg.lr)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, gamma=cfg.gamma)
        self.curve = []

    def loss(self, x, y):
        return torch.sqrt((self.model(x) - y) ** 2 + 1e-6).mean()

    def fit(self, x, y, gen):
        for epoch in range(self.cfg.epochs):
            for idx in torch.randperm(len(x), generator=gen).split(self.cfg.batch_size):
                loss = self.loss(x[idx], y[idx])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.curve.append(loss.item())
                if self.step_on == "batch":
                    self.scheduler.step()
            if self.step_on == "epoch":
                self.scheduler.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(7 + seed)
    lo, hi = radiographs(rng, 500)
    vlo, vhi = radiographs(rng, 100)
    model = Upscaler()
    trainer = Trainer(model, TrainConfig(), "epoch" if fixed else "batch")
    with observe(model, trainer.optimizer):
        trainer.fit(lo, hi, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        rmse = F.mse_loss(model(vlo), vhi).sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": trainer.curve}
