"""Healthy: a Hamiltonian network (vector field by `torch.func.grad` of a scalar energy, leapfrog rollout, higher-order gradients) learns
a pendulum chain. The rollout horizon is lengthened every 80 steps, and the loss is a sum over it, so the loss jumps up again and again
and ends several times higher than it once was; the learnt dynamics get better all the while."""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

ID = "b_hamiltonian_horizon"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}
LINKS, DT = 2, 0.15


def true_energy(q, p):
    return (
        0.5 * (p**2).sum(-1)
        + (1 - torch.cos(q)).sum(-1)
        + 0.4 * (1 - torch.cos(q[..., 1:] - q[..., :-1])).sum(-1)
    )


class Energy(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.pot = nn.Sequential(
            nn.Linear(2 * LINKS, width),
            nn.Softplus(),
            nn.Linear(width, width),
            nn.Softplus(),
            nn.Linear(width, 1),
        )
        self.log_mass = nn.Parameter(torch.full((LINKS,), 0.7))

    def forward(self, q, p):
        feats = torch.cat([torch.sin(q), torch.cos(q)], -1)
        return self.pot(feats).squeeze(-1) + 0.5 * (p**2 * torch.exp(-self.log_mass)).sum(-1)


def leapfrog(dq, dp, q, p, n):
    qs, ps = [], []
    for _ in range(n):
        p = p - 0.5 * DT * dq(q, p)
        q = q + DT * dp(q, p)
        p = p - 0.5 * DT * dq(q, p)
        qs.append(q)
        ps.append(p)
    return torch.stack(qs, 1), torch.stack(ps, 1)


def truth_paths(n, steps, gen, sub=5):
    q, p = torch.randn(n, LINKS, generator=gen), torch.randn(n, LINKS, generator=gen)
    fq, fp = vmap(grad(true_energy, 0)), vmap(grad(true_energy, 1))
    h, qs, ps = DT / sub, [q], [p]
    for _ in range(steps):
        for _ in range(sub):
            p = p - 0.5 * h * fq(q, p)
            q = q + h * fp(q, p)
            p = p - 0.5 * h * fq(q, p)
        qs.append(q)
        ps.append(p)
    noise = 0.004
    q, p = torch.stack(qs, 1), torch.stack(ps, 1)
    return q + noise * torch.randn(q.shape, generator=gen), p + noise * torch.randn(
        p.shape, generator=gen
    )


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 71)
    q, p = truth_paths(256, 24, gen)
    qt, pt = truth_paths(128, 24, gen)
    model = Energy()

    def fields():
        params = dict(model.named_parameters())
        h = lambda a, b: functional_call(model, params, (a, b)).sum()
        return grad(h, 0), grad(h, 1)

    opt = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.99))
    curve = []
    with observe(model, opt):
        for step in range(320):
            n = (1, 4, 8, 14)[step // 80]
            i = torch.randint(0, len(q), (32,), generator=gen)
            s = int(torch.randint(0, 24 - n + 1, (1,), generator=gen))
            qh, ph = leapfrog(*fields(), q[i, s], p[i, s], n)
            loss = (
                ((qh - q[i, s + 1 : s + n + 1]).abs() + (ph - p[i, s + 1 : s + n + 1]).abs())
                .sum(1)
                .mean()
            )
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        qh, ph = leapfrog(*fields(), qt[:, 0], pt[:, 0], 24)
        err = (qh - qt[:, 1:]).pow(2).mean() + (ph - pt[:, 1:]).pow(2).mean()
        var = qt.var() + pt.var()
    return {"metric": (err / var).item(), "better": "lower", "curve": curve}
