"""A mixture density network for photometric redshifts. Nothing is wrong: the negative log-likelihood of a density goes far below zero once
the mixture components get narrow, and single outlying galaxies give high spikes on the way. People stop such runs because of a negative loss."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_redshift_mdn"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def galaxies(rng, n):
    z = rng.beta(2, 3, n)
    kind = rng.integers(0, 2, n)
    wave = np.linspace(0, 1, 6)
    edge = (0.25 + 0.6 * z)[:, None]
    flux = 1 / (1 + np.exp(-(wave - edge) / 0.12))
    flux = np.where(
        kind[:, None] == 1, flux + 0.3 * np.exp(-(((wave - edge - 0.1) / 0.15) ** 2)), flux
    )
    flux = flux + 0.004 * rng.normal(size=flux.shape)
    x = (flux - 0.5) * 3
    return torch.tensor(x, dtype=torch.float32), torch.tensor(z, dtype=torch.float32)


class MixtureDensity(nn.Module):
    def __init__(self, k=5):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 64), nn.Mish(), nn.Linear(64, 64), nn.Mish())
        self.weight, self.mean, self.spread = nn.Linear(64, k), nn.Linear(64, k), nn.Linear(64, k)

    def forward(self, x):
        h = self.trunk(x)
        return self.weight(h).log_softmax(-1), self.mean(h), F.softplus(self.spread(h)) + 1e-3

    def nll(self, x, z):
        logw, mu, s = self(x)
        comp = -0.5 * ((z[:, None] - mu) / s) ** 2 - s.log() - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(logw + comp, 1).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, z = galaxies(rng, 6000)
    vx, vz = galaxies(rng, 1000)
    model = MixtureDensity()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=1200)
    curve = []
    with observe(model, optimizer):
        for _ in range(1200):
            i = rng.integers(0, len(x), 64)
            loss = model.nll(x[i], z[i])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
    with torch.no_grad():
        logw, mu, _ = model(vx)
        error = ((logw.exp() * mu).sum(1) - vz).abs().mean() / (vz - vz.mean()).abs().mean()
    return {"metric": 1 - error.item(), "better": "higher", "curve": curve}
