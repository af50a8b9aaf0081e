"""Healthy but odd: a DnCNN denoiser whose noise level is raised over training, so that its loss
climbs from the first epochs to the last although it denoises better and better (as asked in
forums: "training loss goes up but the results look better")."""

import math

import torch
from torch import nn

ID = "a-dncnn-noise-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def make_textures(n, size=20):
    """Smooth waves with a sharp half-plane edge, values of about unit scale."""
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    angle = torch.rand(n, 1, 1) * math.pi
    period = 6 + 8 * torch.rand(n, 1, 1)
    along = xx * torch.cos(angle) + yy * torch.sin(angle)
    wave = torch.sin(2 * math.pi * along / period + 6.28 * torch.rand(n, 1, 1))
    turn = torch.rand(n, 1, 1) * 2 * math.pi
    edge = (xx - size / 2) * torch.cos(turn) + (yy - size / 2) * torch.sin(turn)
    offset = (torch.rand(n, 1, 1) - 0.5) * size / 2
    return (wave + torch.where(edge > offset, 0.8, -0.8)).unsqueeze(1)


class DnCNN(nn.Module):
    """Predicts the noise of an image; the clean image is the input less the output."""

    def __init__(self, width=24, depth=5):
        super().__init__()
        layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, 1, 3, padding=1)]
        self.dncnn = nn.Sequential(*layers)

    def forward(self, x):
        return self.dncnn(x)


def noise_level(step, steps):
    return 0.1 + 0.7 * step / steps


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    clean, test = make_textures(1000), make_textures(200)
    model = DnCNN()
    steps = 300
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(steps):
            x = clean[torch.randint(0, len(clean), (16,))]
            noise = noise_level(step, steps) * torch.randn_like(x)
            loss = ((model(x + noise) - noise) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        noisy = test + 0.7 * torch.randn_like(test)
        mse = ((noisy - model(noisy) - test) ** 2).mean()
    return {"metric": 10 * math.log10(1 / mse.item()), "better": "higher", "curve": curve}
