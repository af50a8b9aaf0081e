"""A small conv net on spectrogram-like patches with AdamW and linear warm-up; optimizer.zero_grad() stands between
loss.backward() and optimizer.step(), so no step has a gradient: Tony-Y/pytorch_warmup issue 12."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_warmup_zero_grad_order"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": None, "onset": (0, 0)}


class KeywordNet(nn.Module):
    def __init__(self, n_cls=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.mid = nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.fc = nn.Linear(24, n_cls)

    def forward(self, x):
        return self.fc(self.mid(self.stem(x)).mean((2, 3)))


def make_words(n, g):
    y = torch.randint(0, 5, (n,), generator=g)
    t = torch.linspace(0, 1, 20)
    f = torch.linspace(0, 1, 16)[:, None]
    slope = (y.float() - 2)[:, None, None] * 0.35
    ridge = 0.5 + slope * (t - 0.5)[None, None, :] + 0.1 * torch.randn(n, 1, 1, generator=g)
    x = torch.exp(-(((f[None] - ridge) / 0.08) ** 2)) + 0.3 * torch.randn(n, 16, 20, generator=g)
    return x[:, None], y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    xtr, ytr = make_words(1500, g)
    xte, yte = make_words(500, g)
    model = KeywordNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    total = 11 * 47
    lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min(1.0, (s + 1) / 40) * 0.5 * (1 + math.cos(math.pi * min(s, total) / total)),
    )
    curve = []
    model.train()
    with observe(model, optimizer):
        for epoch in range(11):
            for idx in torch.randperm(1500).split(32):
                loss = F.cross_entropy(model(xtr[idx]), ytr[idx])
                if fixed:
                    optimizer.zero_grad()
                    loss.backward()
                else:
                    loss.backward()
                    optimizer.zero_grad()
                optimizer.step()
                lr_scheduler.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xte).argmax(1) == yte).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
