"""A neural ODE (Runge-Kutta in plain torch) learns a damped pendulum from noisy orbits, with a curriculum that doubles the integration
horizon from time to time. Nothing is wrong: the loss leaps up at each extension and ends far above its value at the end of the
first stage, since longer pieces are harder, while full-length roll-outs on new orbits end accurate."""

import numpy as np
import torch
import torch.nn as nn

ID = "a_ode_horizon"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}

DT, T = 0.12, 49


def pendulum(state):
    angle, speed = state[..., 0], state[..., 1]
    return torch.stack([speed, -2.0 * torch.sin(angle) - 0.05 * speed], -1)


def rk4(f, y, h):
    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rollout(f, y0, steps):
    out = [y0]
    for _ in range(steps):
        out.append(rk4(f, out[-1], DT))
    return torch.stack(out, 1)


def orbits(gen, n, noise):
    y0 = torch.stack(
        [torch.rand(n, generator=gen) * 5 - 2.5, torch.rand(n, generator=gen) * 2 - 1], 1
    )
    y = rollout(pendulum, y0, T)
    return y + noise * torch.randn(y.shape, generator=gen)


class Field(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, y):
        return self.net(y)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    data, test = orbits(gen, 200, 0.02), orbits(gen, 100, 0.0)
    field = Field()
    optimizer = torch.optim.Adam(field.parameters(), lr=4e-3)
    stages = [(3, 150), (6, 120), (12, 100), (24, 60), (48, 30)]
    curve = []
    with observe(field, optimizer):
        for horizon, count in stages:
            for _ in range(count):
                i = torch.randint(0, len(data), (32,), generator=gen)
                s = int(torch.randint(0, T + 1 - horizon, (1,), generator=gen))
                piece = data[i, s : s + horizon + 1]
                loss = (rollout(field, piece[:, 0], horizon) - piece).pow(2).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(field.parameters(), 1.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = (rollout(field, test[:, 0], T) - test).pow(2).mean() / test.var()
    return {"metric": 1 - err.item(), "better": "higher", "curve": curve}
