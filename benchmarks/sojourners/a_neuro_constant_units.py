"""Arm-torque model: two joint angles and velocities in, two torques out, one hidden layer whose weights are all 0.01 (the output layer is drawn at random with a single
shared column per torque). All hidden units stay copies of one. Reported as srenevey/neuro issue #4 (XOR: hidden units initialised with the constant 0.01)."""

import torch
import torch.nn as nn

ID = "a_neuro_constant_units"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["hidden"], "onset": (0, 0)}


def arm(n, g):
    q = (torch.rand(n, 2, generator=g) - 0.5) * 4
    dq = torch.randn(n, 2, generator=g)
    ddq = torch.randn(n, 2, generator=g)
    c2, s2 = torch.cos(q[:, 1]), torch.sin(q[:, 1])
    t1 = (
        (2 + 1.2 * c2) * ddq[:, 0]
        + (0.5 + 0.6 * c2) * ddq[:, 1]
        - 0.6 * s2 * (2 * dq[:, 0] * dq[:, 1] + dq[:, 1] ** 2)
        + 3 * torch.cos(q[:, 0])
        + torch.cos(q.sum(1))
    )
    t2 = (
        (0.5 + 0.6 * c2) * ddq[:, 0]
        + 0.5 * ddq[:, 1]
        + 0.6 * s2 * dq[:, 0] ** 2
        + torch.cos(q.sum(1))
    )
    x = torch.cat([q / 2, dq, ddq], 1)
    return x, torch.stack([t1 / 4, t2 / 1.5], 1)


class TorqueNet(nn.Module):
    def __init__(self, units=96, constant=True):
        super().__init__()
        self.hidden = nn.Linear(6, units)
        self.act = nn.Tanh()
        self.output = nn.Linear(units, 2)
        if constant:
            nn.init.constant_(self.hidden.weight, 0.01)
            nn.init.zeros_(self.hidden.bias)
        with torch.no_grad():  # HeNormal, one draw per torque, spread over the units
            self.output.weight.copy_(
                torch.randn(2, 1) * (2 / units) ** 0.5
                if constant
                else torch.randn(2, units) * (2 / units) ** 0.5
            )

    def forward(self, x):
        return self.output(self.act(self.hidden(x)))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    X, Y = arm(4000, g)
    Xt, Yt = arm(600, g)
    model = TorqueNet(constant=not fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    sched = torch.optim.lr_scheduler.StepLR(optimizer, 1000, gamma=0.5)
    criterion, curve = nn.MSELoss(), []
    with observe(model, optimizer):
        for it in range(3000):
            idx = torch.randint(0, 4000, (256,))
            optimizer.zero_grad()
            loss = criterion(model(X[idx]), Y[idx])
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        return {"metric": criterion(model(Xt), Yt).sqrt().item(), "better": "lower", "curve": curve}
