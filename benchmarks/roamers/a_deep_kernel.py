"""A Gaussian process with a deep Matern kernel for the yield of a chemical reactor. The distance matrix is the plain square root of
summed squares, and its diagonal is exactly zero: the forward pass is right, the backward pass divides by zero at once. Everybody who
writes a Matern kernel by hand meets it."""

import math

import numpy as np
import torch
import torch.nn as nn

ID = "a_deep_kernel"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": ["kernel"], "onset": 0}


class Matern32(nn.Module):
    def __init__(self, floor):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.log_length = nn.Parameter(torch.tensor(0.0))
        self.floor = floor

    def forward(self, a, b):
        sq = (a[:, None] - b[None]).pow(2).sum(-1)
        if self.floor:
            sq = sq.clamp_min(self.floor)
        r = math.sqrt(3) * sq.sqrt() / self.log_length.exp()
        return self.log_scale.exp() * (1 + r) * torch.exp(-r)


class DeepKernelGP(nn.Module):
    def __init__(self, d_in, floor):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(d_in, 32), nn.Softplus(), nn.Linear(32, 16), nn.Softplus(), nn.Linear(16, 3)
        )
        self.kernel = Matern32(floor)
        self.log_noise = nn.Parameter(torch.tensor(-2.0))

    def covariance(self, z):
        return self.kernel(z, z) + (self.log_noise.exp() + 1e-4) * torch.eye(len(z))

    def neg_log_evidence(self, x, y):
        L, _ = torch.linalg.cholesky_ex(self.covariance(self.encoder(x)))
        alpha = torch.cholesky_solve(y[:, None], L)
        return (
            0.5 * (y @ alpha[:, 0]) / len(y)
            + L.diagonal().log().mean()
            + 0.5 * math.log(2 * math.pi)
        )

    @torch.no_grad()
    def predict(self, x, y, x_new):
        z, z_new = self.encoder(x), self.encoder(x_new)
        L, _ = torch.linalg.cholesky_ex(self.covariance(z))
        return self.kernel(z_new, z) @ torch.cholesky_solve(y[:, None], L)[:, 0]


def reactor(rng, n):
    x = rng.uniform(-1, 1, (n, 5)).astype(np.float32)
    y = (
        np.sin(4 * x[:, 0] * x[:, 1] + x[:, 2])
        + 1.5 * np.exp(-3 * (x[:, 3] - x[:, 0]) ** 2)
        + 0.05 * rng.normal(size=n)
    )
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = reactor(rng, 400)
    vx, vy = reactor(rng, 300)
    mean, std = y.mean(), y.std()
    y = (y - mean) / std
    model = DeepKernelGP(5, 1e-10 if fixed else None)
    optimizer = torch.optim.Adam(
        [
            {"params": model.encoder.parameters(), "lr": 5e-3},
            {"params": [*model.kernel.parameters(), model.log_noise], "lr": 2e-2},
        ]
    )
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            i = torch.from_numpy(rng.choice(len(x), 100, replace=False))
            optimizer.zero_grad()
            loss = model.neg_log_evidence(x[i], y[i])
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    rmse = (model.predict(x, y, vx) * std + mean - vy).pow(2).mean().sqrt().item()
    return {"metric": rmse if math.isfinite(rmse) else 1e3, "better": "lower", "curve": curve}
