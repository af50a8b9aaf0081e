"""Healthy: transfer learning. A conv trunk is pre-trained on one texture task, frozen with its BatchNorm in eval mode; a new head is trained, and
at step 200 the last trunk block is unfrozen with a learning rate of 2e-5. Frozen layers do not move, on purpose."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_finetune_frozen_ok"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def textures(n, g, task, S=16):
    f = torch.randint(2, 6, (n,), generator=g)
    a = torch.randint(0, 4, (n,), generator=g)
    th, ph = a * math.pi / 4, 6.28 * torch.rand(n, generator=g)
    ax = torch.linspace(-1, 1, S)
    u = ax[None, :, None] * th.cos()[:, None, None] + ax[None, None] * th.sin()[:, None, None]
    x = torch.sin(f[:, None, None] * 2.5 * u + ph[:, None, None])[:, None] + 0.5 * torch.randn(
        n, 1, S, S, generator=g
    )
    return x, (a * 4 + f - 2 if task == "all" else ((a % 2) * 2 + (f > 3).long()))


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        blk = lambda i, o: nn.Sequential(
            nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )
        self.b1, self.b2, self.b3 = blk(1, 16), blk(16, 32), blk(32, 48)

    def forward(self, x):
        return self.b3(self.b2(self.b1(x))).mean((2, 3))


class Model(nn.Module):
    def __init__(self, trunk, classes):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(48, classes)

    def forward(self, x):
        return self.head(self.trunk(x))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 33)
    x, y = textures(2000, g, "all")
    pre = Model(Trunk(), 16)
    o = torch.optim.Adam(pre.parameters(), lr=3e-3)
    for _ in range(6):
        for idx in torch.randperm(len(x), generator=g).split(50):
            loss = F.cross_entropy(pre(x[idx]), y[idx])
            o.zero_grad()
            loss.backward()
            o.step()
    x, y = textures(800, g, "new")
    xt, yt = textures(400, g, "new")
    model = Model(pre.trunk, 4)
    model.trunk.requires_grad_(False)
    model.eval()
    opt = torch.optim.Adam(
        [
            {"params": model.head.parameters(), "lr": 1e-2},
            {"params": model.trunk.b3.parameters(), "lr": 2e-5},
        ]
    )
    curve, step = [], 0
    with observe(model, opt):
        while step < 400:
            for idx in torch.randperm(len(x), generator=g).split(40):
                if step == 200:
                    model.trunk.b3.requires_grad_(True)
                loss = F.cross_entropy(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
                step += 1
    with torch.no_grad():
        return {
            "metric": (model(xt).argmax(1) == yt).float().mean().item(),
            "better": "higher",
            "curve": curve,
        }
