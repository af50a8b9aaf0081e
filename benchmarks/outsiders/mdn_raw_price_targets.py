"""Mixture density network on delivery prices in dollars (200..600), raw targets."""

import math, torch
from torch import nn

ID = "mdn-raw-price-targets"
TRUTH = {"mechanisms": ["unnormalized_targets"], "layers": None, "onset": 0}


class MDN(nn.Module):
    def __init__(self, d, h, k):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(d, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh())
        self.pi = nn.Linear(h, k)
        self.mu = nn.Linear(h, k)
        self.log_sigma = nn.Linear(h, k)

    def forward(self, x):
        h = self.trunk(x)
        return (torch.log_softmax(self.pi(h), 1), self.mu(h), self.log_sigma(h).clamp(-7, 7))


def mdn_nll(lp, mu, ls, y):
    c = -0.5 * ((y[:, None] - mu) / ls.exp()) ** 2 - ls - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(lp + c, 1).mean()


def make(seed, n=3000):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    br = torch.rand(n, generator=g) < torch.sigmoid(2 * x[:, 0])
    y = torch.where(
        br, 480 + 60 * x[:, 1], 260 - 40 * x[:, 2] + 20 * torch.sin(3 * x[:, 3])
    ) + 8 * torch.randn(n, generator=g)
    return (x, y)


def train(observe, seed=0, fixed=False):
    x, y = make(seed)
    torch.manual_seed(seed)
    mean, std = (y.mean(), y.std()) if fixed else (torch.tensor(0.0), torch.tensor(1.0))
    t = (y - mean) / std
    model = MDN(4, 48, 4)
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    losses = []
    with observe(model, opt):
        for epoch in range(14):
            perm = torch.randperm(len(t))
            for s in range(0, len(t) - 99, 100):
                j = perm[s : s + 100]
                loss = mdn_nll(*model(x[j]), t[j])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 50.0)
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30 + math.log(std), "better": "lower"}
