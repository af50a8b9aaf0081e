"""A MobileNet pruned while it learns (healthy but odd: loss spikes, in the end 90 % zero weights)."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits

ID = "mobilenet-gradual-pruning-spikes"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def separable(cin, cout, stride):
    return nn.Sequential(
        nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False),
        nn.BatchNorm2d(cin),
        nn.Hardswish(),
        nn.Conv2d(cin, cout, 1, bias=False),
        nn.BatchNorm2d(cout),
        nn.Hardswish(),
    )


class MobileNet(nn.Module):
    def __init__(self, width=24, classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.Hardswish()
        )
        self.blocks = nn.Sequential(
            separable(width, 2 * width, 1),
            separable(2 * width, 4 * width, 2),
            separable(4 * width, 4 * width, 1),
        )
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x):
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class Pruner:
    """Global magnitude pruning of the pointwise convolutions."""

    def __init__(self, model):
        self.weights = [
            m.weight
            for m in model.modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
        ]
        self.masks = [torch.ones_like(w) for w in self.weights]

    @torch.no_grad()
    def prune(self, sparsity):
        scores = torch.cat([(w * m).abs().flatten() for w, m in zip(self.weights, self.masks)])
        threshold = torch.quantile(scores, sparsity)
        self.masks = [(w.abs() > threshold).float() * m for w, m in zip(self.weights, self.masks)]
        self.apply()

    @torch.no_grad()
    def apply(self):
        for w, m in zip(self.weights, self.masks):
            w.mul_(m)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = torch.tensor(digits.images[order], dtype=torch.float32).unsqueeze(1) / 8 - 0.6
    y = torch.tensor(digits.target[order])
    model = MobileNet()
    pruner = Pruner(model)
    plan = {120: 0.5, 180: 0.7, 240: 0.82, 300: 0.9}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(400):
            if step in plan:
                pruner.prune(plan[step])
            idx = torch.randint(1400, (32,))
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pruner.apply()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
