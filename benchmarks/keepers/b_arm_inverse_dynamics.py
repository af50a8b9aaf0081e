"""Inverse dynamics of a two-link arm (torques from joint angles, speeds and wanted accelerations), SGD with momentum and cosine decay.
`clip_grad_norm_` has a bound of 0.001, carried over from an RNN repository where the loss was summed differently and the optimizer was Adam.
With Adam a small bound does no harm, so the number looks harmless."""

import math
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

torch.set_num_threads(1)
ID = "b_arm_inverse_dynamics"
TRUTH = {"mechanisms": ["excessive_gradient_clipping"], "layers": None, "onset": 0}


def rigid_body(q, dq, ddq, m1=1.0, m2=0.8, l=1.0, grav=4.0):
    c2, s2 = torch.cos(q[:, 1]), torch.sin(q[:, 1])
    a = m1 * l**2 / 3 + m2 * l**2 * (4 / 3 + c2)
    b = m2 * l**2 * (1 / 3 + c2 / 2)
    d = m2 * l**2 / 3
    h = m2 * l**2 * s2 / 2
    t1 = (
        a * ddq[:, 0]
        + b * ddq[:, 1]
        - h * (2 * dq[:, 0] * dq[:, 1] + dq[:, 1] ** 2)
        + grav * torch.cos(q[:, 0])
    )
    t2 = b * ddq[:, 0] + d * ddq[:, 1] + h * dq[:, 0] ** 2 + 0.4 * grav * torch.cos(q.sum(1))
    return torch.stack([t1, t2], 1)


def log_file(n, g):
    q = (torch.rand(n, 2, generator=g) * 2 - 1) * math.pi
    dq, ddq = torch.randn(n, 2, generator=g), torch.randn(n, 2, generator=g)
    feats = torch.cat([q.sin(), q.cos(), dq, ddq], 1)
    return feats, rigid_body(q, dq, ddq)


class ResidualMLP(nn.Module):
    def __init__(self, d=64):
        super().__init__()
        self.inp = nn.Linear(8, d)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d)) for _ in range(2)
        )
        self.torque = nn.ModuleDict({"shoulder": nn.Linear(d, 1), "elbow": nn.Linear(d, 1)})

    def forward(self, s):
        h = nn.functional.silu(self.inp(s))
        for layer in self.layers:
            h = h + layer(h)
        return torch.cat([self.torque["shoulder"](h), self.torque["elbow"](h)], 1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 5)
    s, tau = log_file(6000, g)
    sv, tv = log_file(1000, g)
    mean, std = tau.mean(0), tau.std(0)
    policy = ResidualMLP()
    opt = torch.optim.SGD(policy.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    epochs, bs = 10, 100
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=epochs * len(s) // bs)
    bound = 5.0 if fixed else 1e-3
    curve = []
    with observe(policy, opt):
        for _ in range(epochs):
            for ix in torch.randperm(len(s)).split(bs):
                loss = nn.functional.smooth_l1_loss(policy(s[ix]), (tau[ix] - mean) / std)
                opt.zero_grad()
                loss.backward()
                clip_grad_norm_(policy.parameters(), bound)
                opt.step()
                sched.step()
                curve.append(loss.item())
    with torch.no_grad():
        rmse = ((policy(sv) - (tv - mean) / std) ** 2).mean().sqrt().item()
    return {"metric": rmse, "better": "lower", "curve": curve}
