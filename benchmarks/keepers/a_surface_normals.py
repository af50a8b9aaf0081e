"""A network estimates surface normals and its own certainty from shaded patches with the angular von Mises-Fisher likelihood, after
GitHub: baegwangbin/surface_normal_uncertainty issue 7, 'Training loss is negative'. The loss passes through zero and goes on falling;
that is natural, as a density may be larger than one. People expect a loss to be positive and stop such runs."""

import math
import torch
from torch import nn
import torch.nn.functional as F

ID = "a_surface_normals"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

SIDE = 10


class NormalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.LeakyReLU(0.1),
        )
        self.trunk = nn.Linear(24 * 25, 64)
        self.normal = nn.Linear(64, 3)
        self.certainty = nn.Linear(64, 1)

    def forward(self, patch):
        h = F.leaky_relu(self.trunk(self.features(patch).flatten(1)), 0.1)
        return F.normalize(self.normal(h), dim=1), F.elu(self.certainty(h)).squeeze(1) + 1.01


def angular_nll(normal, kappa, truth):
    dot = (normal * truth).sum(1).clamp(-0.999999, 0.999999)
    return (
        -torch.log(kappa**2 + 1)
        + kappa * torch.acos(dot)
        + torch.log1p(torch.exp(-kappa * math.pi))
    ).mean()


LIGHTS = F.normalize(torch.tensor([[0.0, 0.0, 1.0], [0.7, 0.2, 1.0], [-0.3, 0.7, 1.0]]), dim=1)


def rendered(n, gen):
    """Three lights, three channels; a patch is nearly flat and has speckle of its own strength."""
    truth = F.normalize(
        torch.randn(n, 3, generator=gen) * 0.6 + torch.tensor([0.0, 0.0, 1.0]), dim=1
    )
    truth = torch.stack([truth[:, 0], truth[:, 1], truth[:, 2].abs()], 1)
    shade = truth @ LIGHTS.T
    speckle = 0.02 + 0.2 * torch.rand(n, 1, 1, 1, generator=gen) ** 2
    return shade[:, :, None, None] + speckle * torch.randn(n, 3, SIDE, SIDE, generator=gen), truth


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 151)
    model = NormalNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    steps = 800
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    curve = []
    with observe(model, optimizer):
        for _ in range(steps):
            patch, truth = rendered(32, gen)
            loss = angular_nll(*model(patch), truth)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        patch, truth = rendered(1000, gen)
        normal, _ = model(patch)
        angle = torch.acos((normal * truth).sum(1).clamp(-1, 1))
    return {"metric": math.degrees(angle.mean().item()), "better": "lower", "curve": curve}
