"""Neural ODE (Euler) on spirals; the per-epoch ExponentialLR is stepped once per batch."""

import torch
from torch import nn

ID = "neural-ode-scheduler-per-batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 70)}


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        for m in self.net:
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=0.1)
                nn.init.zeros_(m.bias)

    def forward(self, t, y):
        return self.net(y**3)


class NeuralODE(nn.Module):
    def __init__(self, dt, n):
        super().__init__()
        self.func = ODEFunc()
        self.dt, self.n = (dt, n)

    def forward(self, y0):
        ys, y = ([], y0)
        for k in range(self.n):
            y = y + self.dt * self.func(k * self.dt, y)
            ys.append(y)
        return torch.stack(ys, 1)


def make(seed, T=400, dt=0.05):
    g = torch.Generator().manual_seed(seed)
    A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    y = torch.tensor([2.0, 0.0])
    out = [y]
    for _ in range(T):
        for _ in range(10):
            y = y + dt / 10 * y**3 @ A
        out.append(y)
    y = torch.stack(out)
    return y + 0.01 * torch.randn(y.shape, generator=g)


def train(observe, seed=0, fixed=False):
    traj = make(seed)
    torch.manual_seed(seed)
    n = 12
    model = NeuralODE(0.05, n)
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.9)
    starts = torch.arange(len(traj) - n - 1)
    losses = []
    with observe(model, opt):
        for epoch in range(15):
            perm = starts[torch.randperm(len(starts))]
            for s in range(0, 380, 19):
                i = perm[s : s + 19]
                tgt = torch.stack([traj[k + 1 : k + 1 + n] for k in i.tolist()])
                loss = nn.functional.l1_loss(model(traj[i]), tgt)
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
                if not fixed:
                    sched.step()
            if fixed:
                sched.step()
    return {"metric": sum(losses[-20:]) / 20, "better": "lower"}
