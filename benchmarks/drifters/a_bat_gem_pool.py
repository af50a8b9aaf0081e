"""A small CNN tells bat species apart from call spectrograms; the last feature map is pooled with a generalised mean (GeM) whose
exponent is learnt. The usual clamp before the power was left out because the ReLU before it "already makes everything positive",
but a feature map that is zero everywhere puts the outer root at zero, where its slope is infinite."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_bat_gem_pool"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["pool"], "onset": (0, 1)}

N_SPECIES = 6


def make_calls(n, g):
    """Time-frequency images of 24 bands by 32 frames holding one downward sweep."""
    y = torch.randint(0, N_SPECIES, (n,), generator=g)
    t = torch.linspace(0, 1, 32)
    start = torch.tensor([22.0, 20.0, 18.0, 14.0, 21.0, 12.0])[y]
    drop = torch.tensor([14.0, 4.0, 12.0, 8.0, 9.0, 3.0])[y]
    curve = torch.tensor([1.0, 1.0, 3.0, 1.0, 4.0, 2.0])[y]
    onset = torch.rand(n, generator=g) * 0.35
    u = ((t[None] - onset[:, None]) / 0.6).clamp(0, 1)
    f = start[:, None] + torch.randn(n, 1, generator=g) - drop[:, None] * u ** (1 / curve[:, None])
    active = ((t[None] > onset[:, None]) & (t[None] < onset[:, None] + 0.6)).float()
    bands = torch.arange(24.0)
    spec = (
        torch.exp(-0.5 * ((bands[None, :, None] - f[:, None, :]) / 1.0) ** 2) * active[:, None, :]
    )
    spec = spec * (0.6 + 0.8 * torch.rand(n, 1, 1, generator=g)) + 0.25 * torch.rand(
        n, 24, 32, generator=g
    )
    return spec.unsqueeze(1), y


class GeneralisedMean(nn.Module):
    def __init__(self, p, floor):
        super().__init__()
        self.p = nn.Parameter(torch.tensor(float(p)))
        self.floor = floor

    def forward(self, x):
        if self.floor is not None:
            x = x.clamp(min=self.floor)
        return x.pow(self.p).mean(dim=(-2, -1)).pow(1.0 / self.p)


class BatNet(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = GeneralisedMean(3.0, floor)
        self.classify = nn.Linear(32, N_SPECIES)

    def forward(self, x):
        return self.classify(self.pool(self.body(self.stem(x))))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    x, y = make_calls(1500, g)
    xt, yt = make_calls(600, g)
    mean, std = x.mean(), x.std()
    x, xt = (x - mean) / std, (xt - mean) / std
    model = BatNet(1e-6 if fixed else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(350):
            pick = torch.randint(0, len(x), (32,), generator=g)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[pick]), y[pick])
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt).nan_to_num().argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
