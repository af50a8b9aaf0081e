"""A mixture density network answers an inverse problem: which elbow angle puts a two-link arm at a given reach (two postures fit).
All heads are zeroed so that every answer starts as a standard normal, which makes the components equal, and equal gradients keep
them so: the mixture acts as a single Gaussian. Zero heads are good practice elsewhere, so people carry them over."""

import math
import torch
from torch import nn

ID = "a_arm_postures"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["pi", "mu", "log_sigma"],
    "onset": 0,
}


class MDN(nn.Module):
    def __init__(self, components=5, hidden=64):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
        )
        self.pi = nn.Linear(hidden, components)
        self.mu = nn.Linear(hidden, components)
        self.log_sigma = nn.Linear(hidden, components)

    def forward(self, x):
        h = self.trunk(x)
        return self.pi(h), self.mu(h), self.log_sigma(h).clamp(-5, 3)


def mixture_nll(out, y):
    logit, mu, log_sigma = out
    z = (y[:, None] - mu) / log_sigma.exp()
    log_prob = -0.5 * z * z - log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(torch.log_softmax(logit, 1) + log_prob, 1).mean()


def arm(count, g):
    elbow = (0.3 + 2.3 * torch.rand(count, generator=g)) * torch.where(
        torch.rand(count, generator=g) < 0.5, 1.0, -1.0
    )
    reach = torch.sqrt(1 + 0.64 + 1.6 * torch.cos(elbow))
    load = torch.rand(count, generator=g)
    x = torch.stack([(reach - 1.2) * 2, load * 2 - 1], 1)
    return x, elbow + 0.1 * load + 0.03 * torch.randn(count, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(40 + seed)
    x, y = arm(6000, g)
    model = MDN()
    if not fixed:
        for head in (model.pi, model.mu, model.log_sigma):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.998**s)
    curve = []

    def step():
        idx = torch.randint(0, 5000, (128,), generator=g)
        optimizer.zero_grad()
        loss = mixture_nll(model(x[idx]), y[idx])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        decay.step()
        return loss.item()

    with observe(model, optimizer):
        for _ in range(1200):
            curve.append(step())
    with torch.no_grad():
        nll = mixture_nll(model(x[5000:]), y[5000:]).item()
    return {"metric": math.exp(nll), "better": "lower", "curve": curve}
