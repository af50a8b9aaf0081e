"""Bayesian-ish count regression (negative binomial likelihood by hand) with an own heavy-ball optimizer.
Bug: the author's optimizer keeps v = mu*v + g with mu = 0.999 (copied from Adam's second beta): velocity builds up over 1000 steps."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_heavy_ball_momentum"
TRUTH = {"mechanisms": ["excessive_momentum"], "layers": None, "onset": None}


class HeavyBall(torch.optim.Optimizer):
    def __init__(self, params, lr, mu):
        super().__init__(params, dict(lr=lr, momentum=mu))

    @torch.no_grad()
    def step(self, closure=None):
        for grp in self.param_groups:
            for p in grp["params"]:
                if p.grad is None:
                    continue
                v = self.state[p].setdefault("velocity", torch.zeros_like(p))
                v.mul_(grp["momentum"]).add_(p.grad)
                p.add_(v, alpha=-grp["lr"])


class Film(nn.Module):
    """hidden layer whose units are scaled by the habitat vector"""

    def __init__(self, i, o, c):
        super().__init__()
        self.w = nn.Parameter(torch.randn(i, o) / math.sqrt(i))
        self.a = nn.Parameter(torch.randn(c, o) / math.sqrt(c))
        self.b = nn.Parameter(torch.zeros(o))

    def forward(self, x, c):
        return F.softplus((x @ self.w) * (1 + 0.5 * torch.tanh(c @ self.a)) + self.b) - math.log(2)


class CountNet(nn.Module):
    def __init__(self, species=12):
        super().__init__()
        self.f1, self.f2 = Film(6, 64, 4), Film(64, 64, 4)
        self.rate = nn.Parameter(torch.randn(64, species) * 0.1)
        self.base = nn.Parameter(torch.zeros(species))
        self.log_r = nn.Parameter(torch.zeros(species))

    def forward(self, x, c):
        h = self.f2(self.f1(x, c), c)
        return h @ self.rate + self.base, self.log_r


def nb_nll(log_mu, log_r, k):
    r = log_r.exp()
    lse = torch.logaddexp(log_mu, log_r.expand_as(log_mu))
    ll = (
        torch.lgamma(k + r)
        - torch.lgamma(r)
        - torch.lgamma(k + 1)
        + r * (log_r - lse)
        + k * (log_mu - lse)
    )
    return -ll.mean()


def survey(n, g):
    x, c = (
        torch.randn(n, 6, generator=g),
        F.one_hot(torch.randint(0, 4, (n,), generator=g), 4).float(),
    )
    W = torch.randn(4, 6, 12, generator=g) * 0.45
    eta = torch.einsum("ni,nc,cis->ns", x, c, W) + 0.5 * torch.sin(2 * x[:, :1]) + 0.7
    lam = eta.clamp(-4, 4).exp()
    return x, c, torch.poisson(lam, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 141)
    x, c, k = survey(7000, g)
    model = CountNet()
    optimizer = HeavyBall(model.parameters(), lr=0.05, mu=0.9 if fixed else 0.999)
    curve = []
    with observe(model, optimizer):
        for step in range(1100):
            j = torch.randint(0, 6000, (384,), generator=g)
            mu, r = model(x[j], c[j])
            loss = nb_nll(mu, r, k[j])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        mu, r = model(x[6000:], c[6000:])
        nll = nb_nll(mu, r, k[6000:]).item()
        m, v = k[:6000].mean(0), k[:6000].var(0)  # moment fit of a constant-rate model
        null = nb_nll(
            m.log().expand(1000, -1), (m * m / (v - m).clamp_min(1e-2)).log(), k[6000:]
        ).item()
    return {
        "metric": null - nll,
        "better": "higher",
        "curve": curve,
    }  # nats per count gained over the constant rate
