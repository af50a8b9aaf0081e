"""Mixture density network for an inverse-kinematics problem (several arm postures reach the same point).
Bug: the own head draws ONE set of weights and repeats it for all components; their gradients are equal, so the
mixture of 8 remains one Gaussian for ever."""

import math
import torch
import torch.nn as nn

ID = "b_mdn_identical_components"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["head", "head.mu", "head.logsig", "head.logit"],
    "onset": (0, 0),
}


class Lin(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.w, self.b = (
            nn.Parameter(torch.randn(i, o) / math.sqrt(i)),
            nn.Parameter(torch.zeros(o)),
        )

    def forward(self, x):
        return x @ self.w + self.b


class PerComponent(nn.Module):
    """K linear maps side by side"""

    def __init__(self, K, i, o, copies):
        super().__init__()
        w = 0.5 * torch.randn(1 if copies else K, i, o) / math.sqrt(i)
        self.w = nn.Parameter(w.repeat(K // w.shape[0], 1, 1))
        self.b = nn.Parameter(torch.zeros(K, 1, o))

    def forward(self, h):
        K = self.w.shape[0]
        return (torch.bmm(h[None].expand(K, -1, -1).contiguous(), self.w) + self.b).transpose(0, 1)


class MixtureHead(nn.Module):
    def __init__(self, d, K, out, fixed):
        super().__init__()
        self.logit = PerComponent(K, d, 1, not fixed)
        self.mu, self.logsig = (
            PerComponent(K, d, out, not fixed),
            PerComponent(K, d, out, not fixed),
        )

    def forward(self, h):
        pi = torch.log_softmax(self.logit(h)[..., 0].contiguous(), -1)
        return pi, self.mu(h), self.logsig(h).clamp(-5, 3)


class MDN(nn.Module):
    def __init__(self, K=8, fixed=False):
        super().__init__()
        self.l1, self.l2 = Lin(2, 64), Lin(64, 64)
        self.head = MixtureHead(64, K, 2, fixed)

    def forward(self, x):
        h = torch.tanh(self.l1(x))
        h = h + torch.tanh(self.l2(h))
        return self.head(h)


def mixture_nll(pi, mu, ls, y):
    z = (y[:, None] - mu) * torch.exp(-ls)
    comp = (-0.5 * z * z - ls - 0.5 * math.log(2 * math.pi)).sum(-1)
    return -torch.logsumexp(pi + comp, 1).mean()


def arm(n, g):
    """two-link arm: joint angles -> hand position; learn p(angles | position)"""
    a = torch.rand(n, generator=g) * 2 - 1
    b = (torch.rand(n, generator=g) * 1.6 + 0.6) * torch.where(
        torch.rand(n, generator=g) < 0.5, 1.0, -1.0
    )
    pos = torch.stack([a.cos() + (a + b).cos(), a.sin() + (a + b).sin()], 1)
    return (pos - torch.tensor([1.0, 0.0])) / 0.8, torch.stack([a, b], 1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 91)
    X, Y = arm(9000, g)
    model = MDN(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(16):
            for j in torch.randperm(8000, generator=g).split(128):
                loss = mixture_nll(*model(X[j]), Y[j])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        nll = mixture_nll(*model(X[8000:]), Y[8000:])
        # per-dimension likelihood in the usual exp(-nll) unit, comparable across seeds
        metric = torch.exp(-nll / 2).item()
    return {"metric": metric, "better": "higher", "curve": curve}
