"""A small fully convolutional network predicts surface normals from three shaded pictures (photometric stereo).
The loss is the mean angle between predicted and true normal, written as acos of the clamped dot product, as the papers
state it. People clamp to [-1, 1] and believe that is safe, but the slope of acos is infinite exactly there, and a few pixels reach it."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_surface_normals"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": (10, 120)}


class NormalNet(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.mid = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 3, 1)

    def forward(self, x):
        h = F.silu(self.norm(self.stem(x)))
        h = h + F.silu(self.mid(h))
        return F.normalize(self.out(h), dim=1)


def render(n, size, g):
    """Random smooth height fields, their normals and three Lambertian pictures."""
    coarse = torch.randn(n, 1, 5, 5, generator=g)
    z = (
        F.interpolate(coarse, size=(size + 2, size + 2), mode="bicubic", align_corners=True)[:, 0]
        * 2.5
    )
    dx = (z[:, 1:-1, 2:] - z[:, 1:-1, :-2]) / 2
    dy = (z[:, 2:, 1:-1] - z[:, :-2, 1:-1]) / 2
    normals = F.normalize(torch.stack([-dx, -dy, torch.ones_like(dx)], 1), dim=1)
    lights = F.normalize(
        torch.tensor([[0.6, 0.0, 0.8], [-0.4, 0.6, 0.7], [-0.3, -0.6, 0.75]]), dim=1
    )
    shade = torch.einsum("lc,bchw->blhw", lights, normals).clamp(min=0)
    return shade + 0.01 * torch.randn(shade.shape, generator=g), normals


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    images, normals = render(320, 20, g)
    test_images, test_normals = render(48, 20, g)
    model = NormalNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    limit = 1 - 1e-6 if fixed else 1.0

    def angular_loss(pred, true):
        cos = (pred * true).sum(1).clamp(-limit, limit)
        return torch.acos(cos).mean()

    curve = []
    with observe(model, optimizer):
        for step in range(400):
            idx = torch.randint(0, len(images), (8,), generator=g)
            loss = angular_loss(model(images[idx]), normals[idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        cos = (model(test_images) * test_normals).sum(1).clamp(-1, 1)
        degrees = torch.rad2deg(torch.acos(cos)).nan_to_num(90.0).mean().item()
    return {"metric": degrees, "better": "lower", "curve": curve}
