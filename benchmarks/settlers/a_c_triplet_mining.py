"""Metric learning with a triplet margin loss, averaged over the triplets that still violate the margin.
The printed loss soon hovers around half the margin although the embedding keeps getting better (nothing is wrong)."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "triplet_loss_looks_stuck"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

MARGIN, CLASSES, DIM = 0.5, 12, 24


class Speakers:
    """Each speaker is a curved cloud in 24 dimensions, hidden by shared nuisance directions."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.center = 1.6 * torch.randn(CLASSES, 6, generator=self.gen)
        self.mix = torch.linalg.qr(torch.randn(DIM, DIM, generator=self.gen))[0]

    def sample(self, per_class):
        y = torch.arange(CLASSES).repeat_interleave(per_class)
        core = self.center[y] + 0.35 * torch.randn(len(y), 6, generator=self.gen)
        nuisance = 1.5 * torch.randn(len(y), DIM - 6, generator=self.gen)
        return torch.tanh(torch.cat([core, nuisance], 1) @ self.mix), y


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIM, 96), nn.LayerNorm(96), nn.ReLU(), nn.Linear(96, 16))

    def forward(self, x):
        return F.normalize(self.net(x), dim=1)


def active_triplet_loss(z, y):
    d = 2 - 2 * z @ z.T  # squared distance on the sphere
    same = y[:, None] == y[None]
    eye = torch.eye(len(y), dtype=torch.bool)
    violation = d[:, :, None] - d[:, None, :] + MARGIN  # anchor, positive, negative
    valid = (same & ~eye)[:, :, None] & ~same[:, None, :]
    active = valid & (violation > 0)
    return violation[active].sum() / active.sum().clamp(min=1)


def nearest_neighbour_accuracy(encoder, data):
    with torch.no_grad():
        (gx, gy), (qx, qy) = data.sample(10), data.sample(20)
        sim = encoder(qx) @ encoder(gx).T
        return (gy[sim.argmax(1)] == qy).float().mean().item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Speakers(seed)
    encoder = Encoder()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    curve = []
    with observe(encoder, optimizer):
        for step in range(800):
            x, y = data.sample(4)
            loss = active_triplet_loss(encoder(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    return {"metric": nearest_neighbour_accuracy(encoder, data), "better": "higher", "curve": curve}
