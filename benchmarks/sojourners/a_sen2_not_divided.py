"""Land-cover classifier for Sentinel-2 patches trained on the stored uint16 digital numbers (0..10000): the division by 10 000 was left out.
Reported as ESAOpenSR/SEN2SR issue #3."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_sen2_not_divided"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": None, "onset": (0, 0)}
BANDS, CLS = 6, 6
REFL = torch.tensor(
    [
        [0.06, 0.07, 0.05, 0.03, 0.02, 0.01],
        [0.04, 0.08, 0.05, 0.35, 0.18, 0.08],
        [0.10, 0.14, 0.18, 0.26, 0.30, 0.24],
        [0.14, 0.16, 0.18, 0.21, 0.24, 0.22],
        [0.05, 0.10, 0.08, 0.28, 0.22, 0.13],
        [0.12, 0.13, 0.14, 0.17, 0.16, 0.14],
    ]
)


def patches(n, g):
    y = torch.randint(0, CLS, (n,), generator=g)
    base = REFL[y] * (1 + 0.25 * torch.randn(n, 1, generator=g)) + 0.02 * torch.randn(
        n, BANDS, generator=g
    )
    tex = torch.tensor([0.005, 0.01, 0.02, 0.06, 0.02, 0.05])[y]
    x = (
        base[:, :, None, None]
        + tex[:, None, None, None] * torch.randn(n, 1, 10, 10, generator=g)
        + 0.01 * torch.randn(n, BANDS, 10, 10, generator=g)
    )
    return (x.clamp(0, 1.2) * 10000).round(), y


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return F.relu(x + 0.5 * self.b(F.relu(self.a(x))))


class LandCover(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.stem = nn.Conv2d(BANDS, c, 3, padding=1)
        self.blocks = nn.Sequential(ResBlock(c), nn.MaxPool2d(2), ResBlock(c))
        self.head = nn.Linear(2 * c, CLS)

    def forward(self, x):
        h = self.blocks(F.relu(self.stem(x)))
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))


def load(x, scale):
    x = x / 10000 if scale else x
    return torch.nan_to_num(x.float(), nan=0.0, posinf=0.0, neginf=0.0)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    (x, y), (xt, yt) = patches(1600, g), patches(400, g)
    x, xt = load(x, fixed), load(xt, fixed)
    model = LandCover()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=500)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for idx in torch.randperm(1600).split(32):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(xt), yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}
