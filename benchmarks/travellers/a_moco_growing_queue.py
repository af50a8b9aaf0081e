"""MoCo on colour fields (healthy but odd: the loss starts at 0 and climbs while the negative queue fills)."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "moco-loss-climbs-with-queue"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


def colour_fields(n, size=16):
    """Smooth random colour gradients with a stripe pattern on top."""
    coarse = torch.randn(n, 3, 3, 3)
    image = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    axis = torch.linspace(-1, 1, size)
    freq = 6 * torch.randn(n, 2, 1, 1, 1)
    stripes = torch.sin(freq[:, 0] * axis.view(1, 1, -1, 1) + freq[:, 1] * axis)
    return image + 0.5 * stripes


class Encoder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.projector = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return F.normalize(self.projector(self.body(x)), dim=1)


def augment(x):
    """Small random affine warps, contrast jitter and noise."""
    n = len(x)
    theta = torch.eye(2, 3).repeat(n, 1, 1) + 0.15 * torch.randn(n, 2, 3)
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)
    return x * (1 + 0.3 * torch.randn(n, 3, 1, 1)) + 0.5 * torch.randn_like(x)


class MoCo(nn.Module):
    def __init__(self, size=768, momentum=0.98, temperature=0.15):
        super().__init__()
        self.query = Encoder()
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.size, self.m, self.t = size, momentum, temperature
        self.queue = torch.empty(0, 32)

    @torch.no_grad()
    def update_key(self):
        for k, q in zip(self.key.parameters(), self.query.parameters(), strict=True):
            k.lerp_(q, 1 - self.m)

    def forward(self, x):
        q = self.query(augment(x))
        with torch.no_grad():
            k = self.key(augment(x))
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue.T], 1) / self.t
        self.queue = torch.cat([k, self.queue])[: self.size]
        return F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.long))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    images, heldout = colour_fields(2000), colour_fields(300)
    model = MoCo()
    optimizer = torch.optim.SGD(model.query.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            loss = model(images[torch.randint(len(images), (48,))])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.update_key()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        original, warped = model.query(augment(heldout)), model.query(augment(heldout))
    found = (warped @ original.T).argmax(1) == torch.arange(len(original))
    return {"metric": found.float().mean().item(), "better": "higher", "curve": curve}
