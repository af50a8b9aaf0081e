"""A siamese CNN learns a digit metric; a "reproducible" init reseeds its generator for each filter."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "siamese-reseeded-filter-init"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["trunk", "trunk.0", "trunk.2", "trunk.4", "embed", "embed.1", "embed.3"],
    "onset": 0,
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def reproducible_init(model, seed, per_filter=True):
    """He initialisation that doesn't depend on the global random state."""
    g = generator(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            for row in module.weight:
                if per_filter:
                    g = generator(seed)
                row.copy_(torch.randn(row.shape, generator=g) * math.sqrt(2 / fan_in))
            module.bias.zero_()
    return model


class Siamese(nn.Module):
    def __init__(self, dim=12):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.embed = nn.Sequential(
            nn.Flatten(), nn.Linear(512, 64), nn.LeakyReLU(0.1), nn.Linear(64, dim)
        )

    def forward(self, a, b):
        return self.encode(a), self.encode(b)

    def encode(self, x):
        return self.embed(self.trunk(x))


def contrastive_loss(za, zb, same, margin=2.0):
    d = (za - zb).pow(2).sum(1).add(1e-6).sqrt()
    return (same * d.pow(2) + (1 - same) * F.relu(margin - d).pow(2)).mean()


def sample_pairs(y, n, rng):
    first = rng.integers(0, len(y), n)
    second = rng.integers(0, len(y), n)
    for i in range(0, n, 2):  # every other pair is a genuine one
        second[i] = rng.choice(np.flatnonzero(y == y[first[i]]))
    same = torch.tensor((y[first] == y[second]).astype(np.float32))
    return torch.from_numpy(first), torch.from_numpy(second), same


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    x = torch.tensor(digits.images[order], dtype=torch.float32).unsqueeze(1) / 8 - 0.6
    y = digits.target[order]
    x_train, y_train, x_held, y_held = x[:1300], y[:1300], x[1300:], y[1300:]
    model = reproducible_init(Siamese(), seed, per_filter=not fixed)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4, alpha=0.95)
    curve = []
    with observe(model, optimizer):
        for _ in range(400):
            a, b, same = sample_pairs(y_train, 48, rng)
            loss = contrastive_loss(*model(x_train[a], x_train[b]), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        nearest = torch.cdist(model.encode(x_held), model.encode(x_train)).argmin(1).numpy()
    return {
        "metric": float((y_train[nearest] == y_held).mean()),
        "better": "higher",
        "curve": curve,
    }
