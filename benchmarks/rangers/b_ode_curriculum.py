"""A neural ODE learns a damped pendulum with a curriculum: the horizon it is rolled out over grows in four stages.
At the start of every stage the loss and the gradient jump, since the roll-out is longer than any before; each jump is repaired in some dozen steps."""

import torch
from torch import nn

ID = "b_ode_curriculum"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
DT = 0.2


def pendulum(state):
    th, om = state[..., :1], state[..., 1:]
    return torch.cat([om, -2.0 * torch.sin(th) - 0.1 * om], -1)


def rk4(f, s, n):
    path = []
    for _ in range(n):
        k1 = f(s)
        k2 = f(s + DT / 2 * k1)
        k3 = f(s + DT / 2 * k2)
        k4 = f(s + DT * k3)
        s = s + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(s)
    return torch.stack(path, 1)


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 2)
        )

    def forward(self, s):
        return self.net(s)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    start = (torch.rand(256, 2, generator=g) * 2 - 1) * torch.tensor([2.0, 1.5])
    truth = rk4(pendulum, start, 24)
    field = Field()
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    curve = []
    with observe(field, optimizer):
        for horizon in (2, 6, 12, 24):
            for _ in range(120):
                i = torch.randint(0, 200, (32,), generator=g)
                loss = (rk4(field, start[i], horizon) - truth[i, :horizon]).pow(2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = (rk4(field, start[200:], 24) - truth[200:]).pow(2).mean().item()
    return {"metric": err / truth[200:].var().item(), "better": "lower", "curve": curve}
