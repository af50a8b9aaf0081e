"""Healthy but odd: a coupling flow on digits whose loss falls far below zero, whose coupling nets
end in all-zero layers at the start, and whose learning rate is restarted three times on purpose."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn

ID = "realnvp-negative-loss-restarts"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class Coupling(nn.Module):
    def __init__(self, dim, width, flip):
        super().__init__()
        self.flip = flip
        half = dim // 2
        self.net = nn.Sequential(
            nn.Linear(half, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        s, t = self.last(self.net(a)).chunk(2, 1)
        s = 1.5 * torch.tanh(s / 1.5)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], 1), s.sum(1)


class RealNVP(nn.Module):
    def __init__(self, dim=64, layers=6, width=96):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(dim, width, i % 2 == 1) for i in range(layers))
        for i in range(layers // 2):
            self.register_buffer(f"perm{i}", torch.randperm(dim))

    def forward(self, x):
        logdet = x.new_zeros(len(x))
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                x = x[:, getattr(self, f"perm{i // 2}")]
            x, ld = layer(x)
            logdet = logdet + ld
        return x, logdet


def nll(model, pixels):
    """Negative log-density of images in [0, 1], in nats; pixels are standardised inside."""
    z, logdet = model((pixels - 0.3) / 0.38)
    logp = -0.5 * z.pow(2).sum(1) - 32 * math.log(2 * math.pi) + logdet - 64 * math.log(0.38)
    return -logp.mean()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    raw = torch.tensor(load_digits().data, dtype=torch.float32)
    raw = raw[torch.randperm(len(raw))]
    tr, te = raw[:1500], raw[1500:]
    model = RealNVP()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 125, eta_min=2e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(500):
            batch = tr[torch.randint(len(tr), (100,))]
            loss = nll(model, (batch + torch.rand_like(batch)) / 17)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    with torch.no_grad():
        held_out = nll(model, (te + torch.rand_like(te)) / 17).item()
    return {"metric": held_out, "better": "lower", "curve": curve}
