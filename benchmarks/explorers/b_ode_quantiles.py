"""Quantile regression with an RK4 neural-ODE body: targets come as a column (B, 1), predictions
are taken one quantile at a time as (B,), so every error is a (B, B) matrix of unrelated pairs."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ID = "ode-quantile-broadcast"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}

QUANTILES = (0.1, 0.5, 0.9)


class VectorField(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.lift = nn.Linear(dim + 1, hidden)
        self.drop = nn.Linear(hidden, dim)

    def forward(self, t, h):
        t = torch.full_like(h[:, :1], t)
        return self.drop(torch.tanh(self.lift(torch.cat([h, t], 1))))


class RK4(nn.Module):
    def __init__(self, field, steps):
        super().__init__()
        self.field, self.steps = field, steps

    def forward(self, h):
        dt, f = 1.0 / self.steps, self.field
        for i in range(self.steps):
            t, half = i * dt, dt / 2
            k1 = f(t, h)
            k2 = f(t + half, h + half * k1)
            k3 = f(t + half, h + half * k2)
            k4 = f(t + dt, h + dt * k3)
            h = h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return h


class QuantileODE(nn.Module):
    def __init__(self, n_in=5, dim=20):
        super().__init__()
        self.encode = nn.Linear(n_in, dim)
        self.flow = RK4(VectorField(dim, 48), steps=4)
        self.quantiles = nn.Linear(dim, len(QUANTILES))

    def forward(self, x):
        return self.quantiles(self.flow(self.encode(x)))


class PinballLoss(nn.Module):
    def __init__(self, flatten_target):
        super().__init__()
        self.flatten_target = flatten_target

    def forward(self, pred, target):
        target = target.flatten() if self.flatten_target else target
        total = 0.0
        for i, q in enumerate(QUANTILES):
            err = target - pred[:, i]
            total = total + torch.maximum(q * err, (q - 1) * err).mean()
        return total / len(QUANTILES)


def sensor_data(n, gen):
    x = torch.randn(n, 5, generator=gen)
    mean = torch.sin(1.5 * x[:, 0]) + 0.7 * x[:, 1] * x[:, 2] + 0.5 * x[:, 3]
    spread = 0.1 + 0.15 * torch.sigmoid(2 * x[:, 4])
    y = mean + spread * torch.randn(n, generator=gen)
    return x, y[:, None]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 3)
    x, y = sensor_data(3000, gen)
    xt, yt = sensor_data(1000, gen)
    model = QuantileODE()
    loss_fn = PinballLoss(flatten_target=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=8e-3, total_steps=450)
    loader = DataLoader(TensorDataset(x, y), batch_size=100, shuffle=True, generator=gen)
    curve = []
    with observe(model, opt):
        for _ in range(15):
            for xb, yb in loader:
                opt.zero_grad()
                loss = loss_fn(model(xb), yb)
                loss.backward()
                opt.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        score = PinballLoss(flatten_target=True)(model(xt), yt).item()
    return {"metric": score, "better": "lower", "curve": curve}
