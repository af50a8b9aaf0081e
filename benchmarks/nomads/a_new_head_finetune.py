"""A small CNN pretrained on one family of textures is fine-tuned on another with more classes. The optimizer was built before
`model.head` was replaced, so it still holds the old head and the new one stays at its random initialization while only the
slow backbone group moves. It is the usual outcome of moving the line that swaps the classifier below the line that makes the optimizer."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_new_head_finetune"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": ["head"], "onset": 0}


def textures(n, classes, offset, g, size=20):
    """Oriented gratings; the class is orientation and frequency."""
    y = torch.randint(0, classes, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    theta = (y.float() + offset) * math.pi / classes + 0.06 * torch.randn(n, generator=g)
    freq = 0.7 + 0.5 * (y % 2).float()
    phase = torch.rand(n, generator=g) * 2 * math.pi
    arg = xx * torch.cos(theta)[:, None, None] + yy * torch.sin(theta)[:, None, None]
    img = torch.sin(freq[:, None, None] * arg + phase[:, None, None])
    return (img + 0.8 * torch.randn(n, size, size, generator=g))[:, None], y


class TextureNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.features(x))


def pretrain(model, g):
    x, y = textures(1000, 4, 0.0, g)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(150):
        idx = torch.randint(0, len(x), (64,), generator=g)
        opt.zero_grad()
        F.cross_entropy(model(x[idx]), y[idx]).backward()
        opt.step()


def param_groups(model):
    return [
        {"params": model.features.parameters(), "lr": 2e-4},
        {"params": model.head.parameters(), "lr": 2e-2},
    ]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    model = TextureNet(4)
    pretrain(model, g)
    x, y = textures(1500, 9, 0.4, g)
    xv, yv = textures(500, 9, 0.4, g)
    new_head = nn.Linear(32, 9)
    if fixed:
        model.head = new_head
        optimizer = torch.optim.SGD(param_groups(model), momentum=0.9, weight_decay=1e-4)
    else:
        optimizer = torch.optim.SGD(param_groups(model), momentum=0.9, weight_decay=1e-4)
        model.head = new_head
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=400)
    criterion = nn.CrossEntropyLoss()
    curve = []
    model.train()
    with observe(model, optimizer):
        for step in range(400):
            idx = torch.randint(0, len(x), (32,), generator=g)
            model.zero_grad()
            loss = criterion(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
