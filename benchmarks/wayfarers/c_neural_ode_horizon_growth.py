"""Healthy but odd: a neural ODE for a pendulum whose rollout horizon doubles several times, so the loss jumps up at each doubling and then falls again."""

import torch
from torch import nn

ID = "c-neural-ode-horizon-growth"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

DT = 0.2
HORIZONS = {0: 1, 80: 2, 140: 4, 200: 8, 280: 16}


def pendulum(state):
    angle, speed = state.unbind(-1)
    return torch.stack([speed, -2.0 * torch.sin(angle) - 0.15 * speed], -1)


def rk4(f, x):
    k1 = f(x)
    k2 = f(x + 0.5 * DT * k1)
    k3 = f(x + 0.5 * DT * k2)
    k4 = f(x + DT * k3)
    return x + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rollout(f, x, n):
    states = []
    for _ in range(n):
        x = rk4(f, x)
        states.append(x)
    return torch.stack(states, 1)


class Field(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.out = nn.Linear(width, 2)

    def forward(self, x):
        return self.out(self.net(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 13)

    def start(n):
        return (torch.rand(n, 2, generator=gen) * 2 - 1) * torch.tensor([1.6, 1.3])

    model = Field()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 320, eta_min=5e-4)
    horizon, curve = 1, []
    with observe(model, optimizer):
        for step in range(320):
            horizon = HORIZONS.get(step, horizon)
            x0 = start(48)
            truth = rollout(pendulum, x0, horizon)
            loss = nn.functional.mse_loss(rollout(model, x0, horizon), truth)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            cosine.step()
            curve.append(loss.item())
    with torch.no_grad():
        x0 = start(200)
        truth = rollout(pendulum, x0, 16)
        mse = nn.functional.mse_loss(rollout(model, x0, 16), truth)
        score = (1 - mse / truth.var()).item()
    return {"metric": score, "better": "higher", "curve": curve}
