"""Healthy. A denoiser for folded pulsar profiles is trained with a curriculum: every hundred steps the receiver noise of the training batches is raised, so
the loss climbs from stage to stage, ten times and more, and people stop such runs; the denoiser gets better all the while."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_pulsar_curriculum"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
STAGES = [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]


def profiles(n, g):
    ph = torch.arange(64.0) / 64
    u = torch.rand(n, 7, 1, generator=g)

    def pulse(c, w, a):
        d = (ph - c + 0.5) % 1 - 0.5
        return a * torch.exp(-((d / w) ** 2))

    p = (
        pulse(u[:, 0], 0.03 + 0.05 * u[:, 1], 2 + 2 * u[:, 2])
        + pulse(u[:, 0] + 0.12 + 0.1 * u[:, 3], 0.03, 2 * u[:, 4])
        + pulse(u[:, 0] + 0.5, 0.04, 1.5 * u[:, 5])
    )
    return p - 0.5


class Denoiser(nn.Module):
    def __init__(self, c=14):
        super().__init__()
        self.inp = nn.Conv1d(1, c, 5, padding=2, padding_mode="circular")
        self.mid = nn.ModuleList(
            [
                nn.Conv1d(c, c, 5, padding=2 * d, dilation=d, padding_mode="circular")
                for d in (1, 2, 4)
            ]
        )
        self.out = nn.Conv1d(c, 1, 1)

    def forward(self, x):
        h = F.silu(self.inp(x[:, None]))
        for layer in self.mid:
            h = h + F.silu(layer(h))
        return self.out(h)[:, 0]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for sigma in STAGES:
            for _ in range(100):
                clean = profiles(32, g)
                loss = F.mse_loss(
                    model(clean + sigma * torch.randn(clean.shape, generator=g)), clean
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    clean = profiles(500, g)
    noise = STAGES[-1] * torch.randn(clean.shape, generator=g)
    with torch.no_grad():
        gain_db = 10 * torch.log10(
            noise.square().mean() / (model(clean + noise) - clean).square().mean()
        )
    return {"metric": gain_db.item(), "better": "higher", "curve": curve}
