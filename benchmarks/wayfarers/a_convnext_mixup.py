"""Healthy but odd: a small ConvNeXt with layer scale 1e-6, stochastic depth, mixup and smoothed
labels; the training loss stays far above zero and jumps about while held-out accuracy is good."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "convnext-mixup-high-loss-floor"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim, drop_path, scale=1e-6):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.pw1, self.pw2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(scale * torch.ones(dim))
        self.drop_path = drop_path

    def forward(self, x):
        h = self.dwconv(x).permute(0, 2, 3, 1)
        h = self.gamma * self.pw2(F.gelu(self.pw1(self.norm(h))))
        h = h.permute(0, 3, 1, 2)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            h = h * torch.bernoulli(torch.full((len(x), 1, 1, 1), keep)) / keep
        return x + h


class ConvNeXt(nn.Module):
    def __init__(self, dims=(24, 48), depths=(2, 2), drop=0.3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, dims[0], 2, stride=2), LayerNorm2d(dims[0]))
        rates = torch.linspace(0, drop, sum(depths)).tolist()
        self.stage1 = nn.Sequential(*(ConvNeXtBlock(dims[0], rates[i]) for i in range(depths[0])))
        self.down = nn.Sequential(LayerNorm2d(dims[0]), nn.Conv2d(*dims, 2, stride=2))
        self.stage2 = nn.Sequential(
            *(ConvNeXtBlock(dims[1], rates[depths[0] + i]) for i in range(depths[1]))
        )
        self.norm, self.head = nn.LayerNorm(dims[1]), nn.Linear(dims[1], 10)

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean((2, 3))))


def mixup(x, y, alpha):
    lam = torch.distributions.Beta(alpha, alpha).sample((len(x),))
    perm = torch.randperm(len(x))
    onehot = F.one_hot(y, 10).float()
    mixed = lam[:, None, None, None] * x + (1 - lam)[:, None, None, None] * x[perm]
    return mixed, lam[:, None] * onehot + (1 - lam)[:, None] * onehot[perm]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = ConvNeXt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=401, pct_start=0.15)
    curve = []
    with observe(model, optimizer):
        model.train()
        for _ in range(400):
            i = torch.randint(1400, (48,))
            images, targets = mixup(x[i], y[i], alpha=0.8)
            loss = F.cross_entropy(model(images), targets, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
