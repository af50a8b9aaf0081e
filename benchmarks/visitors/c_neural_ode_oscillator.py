"""Neural ODE for a Van der Pol oscillator; before the horizon grows the best snapshot is loaded with
assign=True, so the optimizer keeps stepping tensors the model no longer owns."""

import copy

import torch
from torch import nn

ID = "neural-ode-oscillator"
TRUTH = {"mechanisms": ["parameters_not_updated"], "layers": None, "onset": 100}

DT = 0.1


def van_der_pol(z):
    x, v = z.unbind(-1)
    return torch.stack([v, 1.2 * (1 - x**2) * v - x], dim=-1)


def rk4(field, z, dt):
    k1 = field(z)
    k2 = field(z + 0.5 * dt * k1)
    k3 = field(z + 0.5 * dt * k2)
    k4 = field(z + dt * k3)
    return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def solve(field, z, steps):
    path = [z]
    for _ in range(steps):
        path.append(rk4(field, path[-1], DT))
    return torch.stack(path, dim=1)


class Field(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.inp = nn.Linear(2, width)
        self.mid = nn.Linear(width, width)
        self.out = nn.Linear(width, 2)

    def forward(self, z):
        h = torch.tanh(self.inp(z))
        h = torch.tanh(self.mid(h))
        return self.out(h)


class Snapshot:
    """Remembers the weights of the best smoothed loss so far."""

    def __init__(self):
        self.best, self.smooth, self.state = float("inf"), None, None

    def update(self, model, loss):
        self.smooth = loss if self.smooth is None else 0.9 * self.smooth + 0.1 * loss
        if self.smooth < self.best:
            self.best, self.state = self.smooth, copy.deepcopy(model.state_dict())

    def restore(self, model, assign):
        model.load_state_dict(self.state, assign=assign)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 3)
    starts = torch.rand(256, 2, generator=g) * torch.tensor([4.0, 5.0]) - torch.tensor([2.0, 2.5])
    with torch.no_grad():
        paths = solve(van_der_pol, starts, 60)
    model = Field()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400, eta_min=1e-4)
    snapshot, curve = Snapshot(), []
    with observe(model, optimizer):
        for step in range(400):
            if step == 100:
                snapshot.restore(model, assign=not fixed)
            horizon = 5 if step < 100 else 10
            who = torch.randint(0, 224, (64,))
            when = torch.randint(0, 60 - horizon, (64,))
            window = paths[who[:, None], when[:, None] + torch.arange(horizon + 1)]
            loss = (solve(model, window[:, 0], horizon) - window).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            curve.append(loss.item())
            if step < 100:
                snapshot.update(model, loss.item())
    with torch.no_grad():
        error = (solve(model, starts[224:], 30) - paths[224:, :31]).pow(2).mean().sqrt()
    return {"metric": error.item(), "better": "lower", "curve": curve}
