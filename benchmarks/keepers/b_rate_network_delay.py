"""A continuous-time firing-rate network learns a delayed two-alternative choice: a cue at the start, a long noisy delay, then the report.
The Euler step was set equal to the membrane time constant, so that the leak keeps nothing from one step to the next and activity (and
its gradient) is gone long before the report. People enlarge dt to make the simulation cheaper without thinking of memory."""

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)
ID = "b_rate_network_delay"
TRUTH = {"mechanisms": ["depth_attenuation"], "layers": ["w_rec"], "onset": 0}

STEPS = 50


class RateNet(nn.Module):
    def __init__(self, n, gain, dt, tau):
        super().__init__()
        self.w_in = nn.Linear(3, n)
        self.w_rec = nn.Linear(n, n, bias=False)
        self.readout = nn.Linear(n, 2)
        self.alpha = dt / tau
        nn.init.normal_(self.w_rec.weight, std=gain / np.sqrt(n))

    def forward(self, u):
        r = u.new_zeros(u.shape[1], self.w_rec.in_features)
        for t in range(u.shape[0]):
            drive = self.w_rec(r) + self.w_in(u[t])
            r = (1 - self.alpha) * r + self.alpha * torch.tanh(drive)
        return self.readout(r)


def trials(n, gen):
    choice = torch.randint(0, 2, (n,), generator=gen)
    u = 0.1 * torch.randn(STEPS, n, 3, generator=gen)
    for t in range(4):
        u[t, torch.arange(n), choice] += 1.0
    u[-3:, :, 2] += 1.0
    return u, choice


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 7)
    tau = 100.0
    net = RateNet(48, gain=0.6, dt=10.0 if fixed else 100.0, tau=tau)
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    lossf = nn.CrossEntropyLoss()
    curve = []
    with observe(net, opt):
        for it in range(300):
            u, c = trials(48, gen)
            loss = lossf(net(u), c)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    u, c = trials(600, gen)
    with torch.no_grad():
        acc = (net(u).argmax(1) == c).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
