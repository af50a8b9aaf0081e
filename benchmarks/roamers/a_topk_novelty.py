"""A top-k sparse autoencoder on machine telemetry, used as a novelty detector; weight-normalised decoder, a straight-through style custom
autograd function for the selection. Nothing is wrong: nineteen of twenty hidden units are zero for any sample because the k largest alone are kept,
and that sparsity is the point of the model."""

import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils import parametrizations

ID = "a_topk_novelty"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class KeepLargest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        value, index = x.topk(k, dim=-1)
        mask = torch.zeros_like(x).scatter_(-1, index, 1.0) * (x > 0)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved_tensors
        return grad * mask, None


class SparseAutoencoder(nn.Module):
    def __init__(self, d, units=128, k=6):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(d))
        self.encoder = nn.Linear(d, units)
        self.decoder = parametrizations.weight_norm(nn.Linear(units, d, bias=False), dim=1)
        with torch.no_grad():
            self.decoder.weight = self.encoder.weight.t().clone()
        self.k = k

    def forward(self, x):
        code = KeepLargest.apply(self.encoder(x - self.centre), self.k)
        return self.decoder(code) + self.centre


def telemetry(rng, atoms, n, active=4):
    code = np.zeros((n, len(atoms)))
    for row in code:
        row[rng.choice(len(atoms), active, replace=False)] = rng.uniform(0.7, 1.6, active)
    return torch.tensor(
        code @ atoms + 0.05 * rng.normal(size=(n, atoms.shape[1])), dtype=torch.float32
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    d = 32
    atoms = rng.normal(size=(40, d))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    strange = rng.normal(size=(40, d))
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    x = telemetry(rng, atoms, 8000)
    usual, novel = telemetry(rng, atoms, 500), telemetry(rng, strange, 500)
    model = SparseAutoencoder(d)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    curve = []
    with observe(model, optimizer):
        for _ in range(1400):
            batch = x[rng.integers(0, len(x), 256)]
            loss = (model(batch) - batch).pow(2).sum(-1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        a, b = ((model(t) - t).pow(2).sum(-1) / t.pow(2).sum(-1) for t in (usual, novel))
    return {
        "metric": (b[:, None] > a[None]).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }
