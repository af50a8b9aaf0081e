"""Healthy. A classifier of carved runes is pruned by magnitude while it trains, to two in a hundred of its weights. Each pruning throws the loss up and most weights (and
many whole units) stand at exactly zero afterwards and never change; the remaining ones recover the accuracy."""

import numpy as np
import torch
from torch import nn

ID = "a_rune_pruning"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
KEEP = {150: 0.5, 270: 0.25, 390: 0.08, 510: 0.02}


def carve(rng, n, strokes):
    yy, xx = np.mgrid[0:16, 0:16]
    y = rng.integers(0, len(strokes), n)
    img = np.zeros((n, 16, 16), np.float32)
    for i in range(n):
        shift = rng.normal(0, 0.8, 2)
        for a, b in strokes[y[i]]:
            a, b = a + shift + rng.normal(0, 0.4, 2), b + shift + rng.normal(0, 0.4, 2)
            for s in np.linspace(0, 1, 12):
                py, px = a + s * (b - a)
                img[i] = np.maximum(img[i], np.exp(-((yy - py) ** 2 + (xx - px) ** 2) / 1.1))
    img += rng.normal(0, 0.15, img.shape)
    return torch.tensor((img - 0.2) / 0.35, dtype=torch.float32).flatten(1), torch.tensor(y)


class Pruner:
    def __init__(self, model):
        self.weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)][:-1]
        self.masks = [torch.ones_like(w) for w in self.weights]

    @torch.no_grad()
    def prune(self, keep):
        size = torch.cat([w.abs().flatten() for w in self.weights])
        cut = size.kthvalue(int(len(size) * (1 - keep))).values
        self.masks = [(w.abs() > cut).float() for w in self.weights]

    @torch.no_grad()
    def apply(self):
        for w, m in zip(self.weights, self.masks):
            w.mul_(m)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    strokes = [
        [(rng.uniform(2, 13, 2), rng.uniform(2, 13, 2)) for _ in range(3)] for _ in range(12)
    ]
    x, y = carve(rng, 1800, strokes)
    model = nn.Sequential(
        nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 12)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    pruner, curve = Pruner(model), []
    with observe(model, optimizer):
        for step in range(700):
            if step in KEEP:
                pruner.prune(KEEP[step])
                pruner.apply()
            i = torch.from_numpy(rng.integers(0, 1400, 50))
            loss = nn.functional.cross_entropy(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pruner.apply()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
