"""Healthy: a sequence VAE (GRU encoder, ConvTranspose decoder) of ECG-like beats with KL annealing from 0 to 1: the objective
changes (and may rise) in the middle of the run by design."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_vae_anneal"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
T, Z = 48, 8


def beats(n, g):
    t = torch.linspace(0, 1, T)
    p = torch.rand(n, 4, 1, generator=g)
    q = lambda c, w, a: a * torch.exp(-(((t - c) / w) ** 2))
    x = (
        q(0.2 + 0.05 * p[:, 0], 0.06, 0.4)
        + q(0.42 + 0.08 * p[:, 1], 0.03, 1.2 + p[:, 2])
        - q(0.48 + 0.08 * p[:, 1], 0.03, 0.5)
        + q(0.7 + 0.1 * p[:, 3], 0.09, 0.6)
    )
    return x + 0.1 * torch.randn(n, T, generator=g)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv1d(1, 16, 4, stride=4)
        self.rnn = nn.GRU(16, 32, batch_first=True, bidirectional=True)
        self.stat = nn.Linear(64, 2 * Z)
        self.up = nn.Linear(Z, 32 * 12)
        self.dec = nn.Sequential(
            nn.ConvTranspose1d(32, 16, 4, 2, 1),
            nn.GroupNorm(4, 16),
            nn.SiLU(),
            nn.ConvTranspose1d(16, 8, 4, 2, 1),
            nn.SiLU(),
            nn.Conv1d(8, 1, 5, padding=2),
        )
        self.log_sigma = nn.Parameter(torch.full((), -0.5))

    def encode(self, x):
        _, h = self.rnn(F.silu(self.down(x.unsqueeze(1))).transpose(1, 2))
        return self.stat(torch.cat([h[0], h[1]], 1)).chunk(2, 1)

    def decode(self, z):
        return self.dec(F.silu(self.up(z)).view(-1, 32, 12)).squeeze(1)

    def terms(self, x):
        mu, lv = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * lv)
        ls = self.log_sigma.clamp(min=-4)
        rec = (
            0.5 * ((x - self.decode(z)) * torch.exp(-ls)) ** 2 + ls + 0.5 * math.log(2 * math.pi)
        ).sum(1)
        kl = 0.5 * (mu**2 + lv.exp() - lv - 1).sum(1)
        return rec.mean(), kl.mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 31)
    X, Xt = beats(3000, g), beats(500, g)
    model = VAE()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3)
    beta = lambda s: min(1.0, max(0.0, (s - 150) / 250))
    curve = []
    with observe(model, opt):
        for step in range(750):
            x = X[torch.randint(0, len(X), (48,), generator=g)]
            rec, kl = model.terms(x)
            loss = rec + beta(step) * kl
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        rec, kl = model.terms(Xt)
    return {"metric": (rec + kl).item() / T, "better": "lower", "curve": curve}
