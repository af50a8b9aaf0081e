"""Tabular ResNet on sensor features: GroupNorm on flat vectors gets as many groups as channels."""

import torch
from torch import nn

ID = "c-tabular-resnet"
DEPTH = 3
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": [f"blocks.{i}.norm" for i in range(DEPTH)] + [f"blocks.{i}" for i in range(DEPTH)],
    "onset": 0,
}
CONFIG = {"width": 96, "depth": DEPTH, "groups": 96, "lr": 2e-3, "batch": 128, "epochs": 12}


class Block(nn.Module):
    def __init__(self, width, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.expand = nn.Linear(width, 2 * width)
        self.act = nn.ReLU()
        self.contract = nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.contract(self.act(self.expand(self.norm(x))))


class TabularResNet(nn.Module):
    def __init__(self, d_in, width, depth, groups):
        super().__init__()
        self.stem = nn.Linear(d_in, width)
        self.blocks = nn.Sequential(*(Block(width, groups) for _ in range(depth)))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x))).squeeze(1)


def sensors(n=7000):
    x = torch.randn(n, 10)
    y = (
        torch.sin(2 * x[:, 0] * x[:, 1])
        + (x[:, 2] - 0.5).abs()
        + 0.7 * x[:, 3]
        - 0.5 * x[:, 4] * (x[:, 5] > 0)
    )
    y = y + 0.05 * torch.randn(n)
    return x, (y - y.mean()) / y.std()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    x, y = sensors()
    cfg = dict(CONFIG, groups=4) if fixed else CONFIG
    model = TabularResNet(x.shape[1], cfg["width"], cfg["depth"], cfg["groups"])
    opt = torch.optim.AdamW(model.parameters(), lr=cfg["lr"], weight_decay=1e-3)
    steps = cfg["epochs"] * -(-6000 // cfg["batch"])
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    curve = []
    with observe(model, opt):
        for _ in range(cfg["epochs"]):
            for idx in torch.randperm(6000).split(cfg["batch"]):
                loss = nn.functional.smooth_l1_loss(model(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        mse = (model(x[6000:]) - y[6000:]).pow(2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
