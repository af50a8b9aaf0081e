"""Healthy but odd: a conditional neural process; every step brings new tasks, the loss turns
negative and jumps with their noise level and with the number of context points."""

import math

import torch
from torch import nn

ID = "c-neural-process-tasks"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class TaskStream:
    """Waves with random amplitude, phase and frequency, some tasks far noisier than others."""

    def sample(self, copies=24, points=60):
        x = torch.rand(copies, points, 1) * 4 - 2
        amp = 0.2 + 1.3 * torch.rand(copies, 1, 1)
        freq = 1.2 + 0.3 * torch.rand(copies, 1, 1)
        phase = torch.rand(copies, 1, 1) * 2 * math.pi
        noise = 10 ** (-2 + 1.7 * torch.rand(()))
        y = amp * torch.sin(freq * x + phase) + noise * torch.randn_like(x)
        return x, y


class NeuralProcess(nn.Module):
    def __init__(self, d=96):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2, d), nn.GELU(), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d)
        )
        self.decoder = nn.Sequential(
            nn.Linear(d + 1, d), nn.GELU(), nn.Linear(d, d), nn.GELU(), nn.Linear(d, 2)
        )

    def forward(self, cx, cy, x):
        rep = self.encoder(torch.cat([cx, cy], -1)).mean(1, keepdim=True)
        mean, raw = self.decoder(torch.cat([rep.expand(-1, x.shape[1], -1), x], -1)).chunk(2, -1)
        return torch.distributions.Normal(mean, 0.02 + 0.98 * nn.functional.softplus(raw))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    stream, model = TaskStream(), NeuralProcess()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for _ in range(600):
            x, y = stream.sample()
            n = int(torch.randint(3, 40, ()))
            dist = model(x[:, :n], y[:, :n], x)
            loss = -dist.log_prob(y).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        err = []
        for _ in range(40):
            x, y = stream.sample()
            pred = model(x[:, :20], y[:, :20], x[:, 20:]).mean
            err.append((pred - y[:, 20:]).pow(2).mean() / y.pow(2).mean())
    return {"metric": torch.stack(err).mean().item(), "better": "lower", "curve": curve}
