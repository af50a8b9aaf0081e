"""Radiance field of three soft balls: the density bias made for an exponential activation is kept
while the density goes through a ReLU, so every sample has zero density and no gradient."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "nerf-density-relu-never-opens"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["sigma"], "onset": 0}

CENTERS = torch.tensor([[0.5, 0.0, 0.1], [-0.5, 0.3, -0.2], [0.0, -0.5, 0.3]])
COLORS = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.7, 0.3], [0.2, 0.3, 0.9]])
NEAR, FAR, SAMPLES = 1.4, 3.6, 24


def posenc(x, bands=4):
    freqs = 2.0 ** torch.arange(bands) * math.pi / 2
    ang = (x[..., None] * freqs).flatten(-2)
    return torch.cat([x, ang.sin(), ang.cos()], -1)


class RadianceField(nn.Module):
    def __init__(self, width=64, density_activation="softplus", density_shift=math.log(0.01)):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(27, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.sigma = nn.Linear(width, 1)
        self.rgb = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 3))
        self.act = {"relu": F.relu, "softplus": F.softplus}[density_activation]
        # start from a nearly transparent volume
        nn.init.constant_(self.sigma.bias, density_shift)

    def forward(self, points):
        h = self.trunk(posenc(points))
        return 10 * self.act(self.sigma(h))[..., 0], torch.sigmoid(self.rgb(h))


def scene(points):
    d2 = ((points[..., None, :] - CENTERS) ** 2).sum(-1)
    w = 14.0 * torch.sigmoid((0.16 - d2) * 30)
    return w.sum(-1), (w[..., None] * COLORS).sum(-2) / (w.sum(-1, keepdim=True) + 1e-4)


def render(field, origin, direction):
    t = torch.linspace(NEAR, FAR, SAMPLES)
    delta = (FAR - NEAR) / SAMPLES
    sigma, rgb = field(origin[:, None] + t[:, None] * direction[:, None])
    alpha = 1 - torch.exp(-sigma * delta)
    trans = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha], 1), 1)[:, :-1]
    weights = alpha * trans
    return (weights[..., None] * rgb).sum(1)  # black background


def sample_rays(n, gen):
    origin = 2.5 * F.normalize(torch.randn(n, 3, generator=gen), dim=-1)
    target = 0.45 * torch.randn(n, 3, generator=gen)
    return origin, F.normalize(target - origin, dim=-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    cfg = {"density_activation": "softplus" if fixed else "relu"}
    model = RadianceField(**cfg)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300, eta_min=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            o, d = sample_rays(96, gen)
            loss = F.mse_loss(render(model, o, d), render(scene, o, d))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        o, d = sample_rays(1024, gen)
        mse = F.mse_loss(render(model, o, d), render(scene, o, d)).item()
    return {"metric": mse, "better": "lower", "curve": curve}
