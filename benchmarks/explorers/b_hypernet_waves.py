"""Hypernetwork that writes the weights of a small tanh net for each wave: its weight-generating
head is initialised with unit variance, so the generated nets start with enormous weights."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "hypernet-head-init"
TRUTH = {
    "mechanisms": ["initialization_too_large", "saturated_activations"],
    "layers": ["head"],
    "onset": 0,
}

SHAPES = [(24, 1), (24,), (24, 24), (24,), (1, 24), (1,)]


class HyperNet(nn.Module):
    def __init__(self, task_dim=4, width=64):
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(task_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.sizes = [math.prod(s) for s in SHAPES]
        self.head = nn.Linear(width, sum(self.sizes))

    def init_weights(self, gain):
        for m in self.embed:
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)
                nn.init.zeros_(m.bias)
        nn.init.normal_(self.head.weight, std=gain)
        base = []
        for s in SHAPES:  # the bias of the head is an ordinary init of the small net
            base.append(torch.randn(s) / math.sqrt(s[-1]) if len(s) == 2 else 0.1 * torch.randn(s))
        base[0] = base[0] * 2
        with torch.no_grad():
            self.head.bias.copy_(torch.cat([b.flatten() for b in base]))
        return self

    def forward(self, task, x):
        chunks = self.head(self.embed(task)).split(self.sizes, dim=1)
        w1, b1, w2, b2, w3, b3 = (c.view(-1, *s) for c, s in zip(chunks, SHAPES))
        h = torch.tanh(x @ w1.mT + b1[:, None])
        h = torch.tanh(h @ w2.mT + b2[:, None])
        return h @ w3.mT + b3[:, None]


def waves(n_tasks, n_points, gen):
    c = torch.rand(n_tasks, 4, generator=gen) * 2 - 1
    x = torch.rand(n_tasks, n_points, 1, generator=gen) * 4 - 2
    amp, freq, phase, slope = ((c * 0.5).T)[:, :, None, None]
    y = (1 + amp) * torch.sin((1.6 + freq) * x + 2 * phase) + slope * x
    return c * 1.7, x, y


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 7)
    model = HyperNet().init_weights(gain=0.01 if fixed else 1.0)
    opt = torch.optim.NAdam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=600, eta_min=1e-4)
    curve = []
    with observe(model, opt):
        for _ in range(600):
            task, x, y = waves(96, 48, gen)
            opt.zero_grad()
            loss = F.mse_loss(model(task, x), y)
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    task, x, y = waves(200, 50, torch.Generator().manual_seed(10_000 + seed))
    with torch.no_grad():
        mse = F.mse_loss(model(task, x), y).item()
    return {"metric": mse, "better": "lower", "curve": curve}
