"""Two towers for image and caption vectors are trained with the symmetric InfoNCE loss while the batch doubles every ninety steps.
Each doubling adds negatives, so the loss jumps up five times and never returns to its early minimum; retrieval improves throughout and
the run is healthy."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_growing_batches"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class World:
    def __init__(self, rng):
        self.a = torch.randn(16, 64, generator=rng) / 4
        self.a2 = torch.randn(64, 64, generator=rng) / 8
        self.b = torch.randn(16, 48, generator=rng) / 4
        self.rng = rng

    def pairs(self, n):
        z = torch.randn(n, 16, generator=self.rng)
        img = torch.tanh(z @ self.a) @ self.a2 + 0.15 * torch.randn(n, 64, generator=self.rng)
        cap = torch.relu(z @ self.b) + 0.35 * torch.randn(n, 48, generator=self.rng)
        return img, cap


class Towers(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.image = nn.Sequential(
            nn.Linear(64, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, dim)
        )
        self.caption = nn.Sequential(
            nn.Linear(48, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, dim)
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, img, cap):
        u, v = F.normalize(self.image(img), dim=-1), F.normalize(self.caption(cap), dim=-1)
        return self.log_scale.exp().clamp(max=100.0) * u @ v.T


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    world = World(torch.Generator().manual_seed(seed + 81))
    model = Towers()
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    curve, size = [], 16
    with observe(model, optimizer):
        while size <= 512:
            for _ in range(90):
                logits = model(*world.pairs(size))
                goal = torch.arange(size)
                loss = 0.5 * (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
            size *= 2
    model.eval()
    with torch.no_grad():
        hits = [
            (model(*world.pairs(200)).argmax(1) == torch.arange(200)).float().mean()
            for _ in range(5)
        ]
    return {"metric": torch.stack(hits).mean().item(), "better": "higher", "curve": curve}
