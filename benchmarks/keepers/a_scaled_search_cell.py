"""A small architecture-search cell (a softmax over candidate convolutions) is trained in float16 with a dynamic loss scale, after GitHub:
NoamRosenberg/autodeeplab issue 12, 'gradient overflow during use of half precision'. The scaler starts far too high, finds infinite
gradients, skips those steps and halves the scale; later it tries a higher scale again and skips another. That is how it is meant to
work, yet the warnings look like a broken run."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_scaled_search_cell"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

SIDE, CLASSES = 12, 5


class MixedOp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ops = nn.ModuleList(
            [
                nn.Conv2d(c, c, 1),
                nn.Conv2d(c, c, 3, padding=1),
                nn.Conv2d(c, c, 3, padding=2, dilation=2),
            ]
        )
        self.alpha = nn.Parameter(1e-3 * torch.randn(3))

    def forward(self, x):
        weights = torch.softmax(self.alpha, 0)
        return sum(w * op(x) for w, op in zip(weights, self.ops))


class SearchNet(nn.Module):
    def __init__(self, c=10):
        super().__init__()
        self.stem = nn.Conv2d(1, c, 3, padding=1)
        self.cell1, self.cell2 = MixedOp(c), MixedOp(c)
        self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.head = nn.Linear(c, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.cell1(self.stem(x))))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.bn2(self.cell2(x)))
        return self.head(x.mean((2, 3)))


def gratings(n, gen):
    label = torch.randint(0, CLASSES, (n,), generator=gen)
    g = torch.arange(SIDE).float()
    angle = (label * math.pi / CLASSES).view(-1, 1, 1)
    phase = 6.28 * torch.rand(n, 1, 1, generator=gen)
    wave = torch.sin(
        1.3 * (torch.cos(angle) * g.view(1, 1, -1) + torch.sin(angle) * g.view(1, -1, 1)) + phase
    )
    return (wave + 1.6 * torch.randn(n, SIDE, SIDE, generator=gen)).unsqueeze(1), label


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 161)
    model = SearchNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22, growth_interval=40)
    curve = []
    with observe(model, optimizer):
        for step in range(320):
            x, y = gratings(24, gen)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = F.cross_entropy(model(x).float(), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            scaler.step(optimizer)
            scaler.update()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, y = gratings(800, gen)
        metric = (model(x).argmax(1) == y).float().mean().item()
    return {"metric": metric, "better": "higher", "curve": curve}
