"""Inverse dynamics of a robot joint with several friction regimes, as a softly gated mixture of small experts. The experts are made with `copy.deepcopy`
of one prototype (it loads the same config only once) and the gate starts at zero as a paper advises, so all experts get the same gradient for ever and the gate none."""

import copy
import torch
import torch.nn as nn

ID = "a_robot_experts"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["experts.%d.%d" % (k, j) for k in range(6) for j in (0, 2)] + ["gate"],
    "onset": 0,
}


def expert():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))


class MixtureOfExperts(nn.Module):
    def __init__(self, k=6, prototype=None):
        super().__init__()
        self.gate = nn.Linear(4, k)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.experts = nn.ModuleList(
            [expert() if prototype is None else copy.deepcopy(prototype) for _ in range(k)]
        )

    def forward(self, s):
        w = torch.softmax(self.gate(s), -1)
        y = torch.cat([e(s) for e in self.experts], -1)
        return (w * y).sum(-1)


def joint(n, g):
    s = torch.randn(n, 4, generator=g)  # angle, velocity, acceleration, load
    q, v, a, m = s.T
    friction = torch.where(v.abs() < 0.4, 2.5 * v, torch.sign(v) * (0.6 + 0.5 * v.abs()))
    torque = (
        (1 + 0.5 * m) * a
        + torch.sin(2 * q) * (1 + m)
        + 1.5 * friction * torch.where(q > 0.5, 1.5, 0.7)
    )
    return s, torque / 2.5 + 0.05 * torch.randn(n, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    s, tau = joint(5000, g)
    model = MixtureOfExperts(prototype=None if fixed else expert())
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3, alpha=0.95)
    curve = []
    with observe(model, optimizer):
        for epoch in range(18):
            for i in torch.randperm(4000, generator=g).split(64):
                loss = torch.mean((model(s[i]) - tau[i]) ** 2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        nmse = (model(s[4000:]) - tau[4000:]).pow(2).mean() / tau[4000:].var()
    return {"metric": nmse.item(), "better": "lower", "curve": curve}
