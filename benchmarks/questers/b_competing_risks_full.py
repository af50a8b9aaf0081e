"""Discrete-time competing-risks survival model. The cause-specific sub-networks are one batched einsum layer whose weight is
made with torch.full(1/d): all hidden units of a cause start identical and get identical gradients."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_competing_risks_full"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["cause_in", "cause_out"],
    "onset": (0, 0),
}

K, T, D = 2, 8, 10  # causes, intervals, covariates


class PerCauseLinear(nn.Module):
    def __init__(self, causes, n_in, n_out, constant):
        super().__init__()
        if constant:
            self.weight = nn.Parameter(torch.full((causes, n_in, n_out), 1.0 / n_in))
        else:
            self.weight = nn.Parameter(torch.randn(causes, n_in, n_out) * n_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(causes, n_out))

    def forward(self, x):  # (n, causes, n_in)
        return torch.einsum("nki,kio->nko", x, self.weight) + self.bias


class CompetingRisks(nn.Module):
    def __init__(self, hidden=64, constant=True):
        super().__init__()
        self.cause_in = PerCauseLinear(K, D, hidden, constant)
        self.cause_out = PerCauseLinear(K, hidden, T, constant)

    def forward(self, x):
        h = x[:, None].expand(-1, K, -1)
        h = F.elu(self.cause_in(h))
        logits = self.cause_out(h)  # n, K, T
        stay = torch.zeros_like(logits[:, :1])
        return F.log_softmax(torch.cat([stay, logits], 1), 1)  # n, 1+K, T


def nll(logp, time, event):
    steps = torch.arange(T)
    before = (steps[None] < time[:, None]).float()
    ll = (logp[:, 0] * before).sum(1)
    at = logp[torch.arange(len(time)), event, time]
    return -(ll + at).mean()


def cohort(n, g):
    x = torch.randn(n, D, generator=g)
    r1 = 1.2 * x[:, 0].abs() - 1.0 * x[:, 1] * x[:, 2] - 2.6
    r2 = 1.5 * torch.sin(2 * x[:, 3]) + 0.8 * x[:, 4] ** 2 - 3.2
    shape = torch.linspace(-0.5, 0.5, T)
    logits = torch.stack([torch.zeros(n, T), r1[:, None] + shape, r2[:, None] - shape], 1)
    p = logits.softmax(1)
    draw = torch.distributions.Categorical(probs=p.transpose(1, 2))
    ev = torch.multinomial(p.transpose(1, 2).reshape(-1, 3), 1, generator=g).view(n, T)
    hit = (ev > 0).float()
    first = torch.where(hit.sum(1) > 0, hit.argmax(1), torch.full((n,), T - 1))
    return x, first, ev[torch.arange(n), first], draw.probs.transpose(1, 2)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, time, event, _ = cohort(18000, g)
    xt, _, _, pt = cohort(2000, g)
    net = CompetingRisks(constant=not fixed)
    optim = torch.optim.Adam(net.parameters(), lr=3e-3)
    curve = []
    with observe(net, optim):
        for epoch in range(30):
            perm = torch.randperm(len(x), generator=g)
            for batch in perm.split(256):
                optim.zero_grad()
                loss = nll(net(x[batch]), time[batch], event[batch])
                loss.backward()
                optim.step()
                curve.append(float(loss))
    with torch.no_grad():
        mae = (net(xt).exp() - pt).abs().mean().item()  # error of the predicted hazards
    return {"metric": mae, "better": "lower", "curve": curve}
