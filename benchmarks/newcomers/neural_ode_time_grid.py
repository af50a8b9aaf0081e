"""Neural ODE on predator-prey data: at step 180 windows of random length begin, but the time grid still ends at the old window's end."""

import torch
import torch.nn as nn

ID = "neural-ode-time-grid-not-extended"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (180, 184)}
DT, SHORT, LONG = 0.15, 7, 19


def lotka_volterra(z):
    x, y = z[..., 0], z[..., 1]
    return torch.stack([1.1 * x - 0.8 * x * y, 0.7 * x * y - 1.0 * y], -1)


def rk4(f, z, h):
    k1 = f(z)
    k2 = f(z + h / 2 * k1)
    k3 = f(z + h / 2 * k2)
    k4 = f(z + h * k3)
    return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def odeint(f, z0, t):
    path = [z0]
    for a, b in zip(t[:-1], t[1:]):
        path.append(rk4(f, path[-1], b - a))
    return torch.stack(path, 1)


def simulate(n, steps, g):
    z = 0.6 + 1.2 * torch.rand(n, 2, generator=g)
    path = [z]
    for _ in range(steps - 1):
        for _ in range(5):
            z = rk4(lotka_volterra, z, DT / 5)
        path.append(z)
    z = torch.stack(path, 1)
    return z - 1.3


class ODEFunc(nn.Module):
    def __init__(self, h=40):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 2)
        )
        nn.init.normal_(self.net[-1].weight, std=0.05)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, z):
        return self.net(z)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    data = simulate(80, 60, g)
    test = simulate(40, LONG, g)
    func = ODEFunc()
    optimizer = torch.optim.RMSprop(func.parameters(), lr=1e-3)
    history = []
    t_end = (SHORT - 1) * DT
    with observe(func, optimizer):
        for itr in range(420):
            n = SHORT if itr < 180 else int(torch.randint(SHORT, LONG + 1, (1,), generator=g))
            if fixed:
                t_end = (n - 1) * DT
            t = torch.linspace(0, t_end, n)
            who = torch.randint(0, 80, (48,), generator=g)
            start = torch.randint(0, 60 - n, (48,), generator=g)
            batch = data[who[:, None], start[:, None] + torch.arange(n)]
            loss = (odeint(func, batch[:, 0], t) - batch).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    with torch.no_grad():
        pred = odeint(func, test[:, 0], torch.arange(LONG) * DT)
    return {"metric": (pred - test).abs().mean().item(), "better": "lower", "curve": history}
