"""Neural ODE (Euler steps) for the glucose and insulin of patients over a day.
Bug: the vector field gets the clock time in minutes (0..1440) next to standardised states; the first tanh layer saturates on the
time column and sees neither the state nor the hour."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_glucose_ode"
TRUTH = {
    "mechanisms": ["unnormalized_inputs", "saturated_activations"],
    "layers": ["field.inp"],
    "onset": (0, 0),
}
N, DT = 24, 60.0  # hourly steps, minutes


def true_field(t, x):
    g, i = x[:, 0], x[:, 1]
    meal = sum(torch.exp(-(((t - m) / 110.0) ** 2)) for m in (450.0, 750.0, 1140.0))
    dg = 0.8 * meal - 0.8 * i - 0.3 * g
    di = 0.6 * g - 0.5 * i
    return torch.stack([dg, di], 1)


def patients(n, g):
    x0 = torch.randn(n, 2, generator=g) * torch.tensor([1.0, 0.7])
    start = torch.randint(0, 12, (n,), generator=g).float() * 60
    x, path, t = x0, [x0], start.clone()
    for _ in range(N - 12):
        for _ in range(4):
            x = x + 0.25 * true_field(t, x)
            t = t + DT / 4
        path.append(x)
    traj = torch.stack(path, 1)
    return x0, start, traj + 0.03 * torch.randn(traj.shape, generator=g)


class Field(nn.Module):
    def __init__(self, fixed, h=48):
        super().__init__()
        self.fixed = fixed
        self.inp = nn.Linear(3, h)
        self.mid = nn.Linear(h, h)
        self.out = nn.Linear(h, 2)

    def forward(self, t, x):
        tt = t.unsqueeze(1)
        if self.fixed:
            tt = (tt - 720.0) / 200.0
        h = torch.tanh(self.inp(torch.cat([x, tt], 1)))
        return self.out(torch.tanh(self.mid(h)))


class ODE(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.field = Field(fixed)

    def forward(self, x, t):
        path = [x]
        for _ in range(N - 12):
            for _ in range(2):
                x = x + 0.5 * self.field(t, x)
                t = t + DT / 2
            path.append(x)
        return torch.stack(path, 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 44)
    X0, S, P = patients(1000, g)
    Xt, St, Pt = patients(300, g)
    model = ODE(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5 ** (1 / 250))
    curve = []
    with observe(model, opt):
        for step in range(600):
            i = torch.randint(0, 1000, (48,), generator=g)
            loss = F.mse_loss(model(X0[i], S[i]), P[i])
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        m = (F.mse_loss(model(Xt, St), Pt) / Pt.var()).item()
    return {"metric": m, "better": "lower", "curve": curve}
