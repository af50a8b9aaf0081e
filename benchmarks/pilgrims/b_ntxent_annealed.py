"""Self-supervised contrastive pretraining of a small convolutional encoder on texture patches, with an annealed temperature.
To halve the memory of the similarity matrix the hand-written NT-Xent loss keeps it in float16; when the temperature sinks
the exponential of a well-aligned pair leaves the range of the format."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ntxent_annealed"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": None, "onset": (290, 310)}
CLASSES = 6


def textures(n, rng):
    y = torch.randint(0, CLASSES, (n,), generator=rng)
    ii, jj = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    angle = y * math.pi / 3 + 0.15 * torch.randn(n, generator=rng)
    freq = torch.where(y < 3, 0.7, 1.4)
    phase = 2 * math.pi * torch.rand(n, generator=rng)
    arg = freq[:, None, None] * (ii * angle.cos()[:, None, None] + jj * angle.sin()[:, None, None])
    img = torch.sin(arg + phase[:, None, None]) + 0.3 * torch.randn(n, 14, 14, generator=rng)
    return img[:, None], y


def augment(x, rng):
    dy, dx = (int(v) for v in torch.randint(0, 14, (2,), generator=rng))
    x = torch.roll(x, (dy, dx), (2, 3))
    gain = 0.6 + 0.8 * torch.rand(len(x), 1, 1, 1, generator=rng)
    return gain * x + 0.4 * torch.randn(x.shape, generator=rng)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.projector = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        return F.normalize(self.projector(self.trunk(x)), dim=1)


def nt_xent(za, zb, tau, dtype):
    z = torch.cat([za, zb]).to(dtype)
    n = len(za)
    e = torch.exp(z @ z.T / tau)
    keep = ~torch.eye(2 * n, dtype=torch.bool)
    partner = torch.arange(2 * n).roll(n)
    pos = e[torch.arange(2 * n), partner]
    neg = e.masked_fill(~keep, 0.0).sum(1)
    return -torch.log(pos / neg).float().mean()


def neighbour_accuracy(model, x, y, xt, yt):
    model.eval()
    with torch.no_grad():
        a, b = F.normalize(model.trunk(x), dim=1), F.normalize(model.trunk(xt), dim=1)
        votes = F.one_hot(y[(b @ a.T).topk(7, dim=1).indices], CLASSES).sum(1)
    return (votes.argmax(1) == yt).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed + 31)
    x, _ = textures(3000, rng)
    bank, bank_y = textures(300, rng)
    xt, yt = textures(600, rng)
    model = Encoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    dtype = torch.float32 if fixed else torch.float16
    steps, curve = 400, []
    with observe(model, optimizer):
        for step in range(steps):
            tau = 0.06 + 0.44 * 0.5 * (1 + math.cos(math.pi * step / steps))
            batch = x[torch.randint(0, len(x), (64,), generator=rng)]
            loss = nt_xent(model(augment(batch, rng)), model(augment(batch, rng)), tau, dtype)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {
        "metric": neighbour_accuracy(model, bank, bank_y, xt, yt),
        "better": "higher",
        "curve": curve,
    }
