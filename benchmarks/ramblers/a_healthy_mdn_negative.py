"""HEALTHY. Mixture density network for an inverse problem; its loss, a negative log density, becomes clearly negative.
Re-enacts cpmpercussion/keras-mdn-layer issue 26 (loss gives negative values: ok for a continuous density)."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_mdn_negative"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class MDN(nn.Module):
    def __init__(self, k=4, h=48):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh())
        self.pi, self.mu, self.sigma = nn.Linear(h, k), nn.Linear(h, 2 * k), nn.Linear(h, k)
        self.k = k

    def nll(self, x, y):
        h = self.trunk(x)
        logpi = F.log_softmax(self.pi(h), -1)
        mu = self.mu(h).view(-1, self.k, 2)
        s = F.elu(self.sigma(h)) + 1 + 1e-3
        comp = -((y[:, None] - mu) ** 2).sum(-1) / (2 * s * s) - 2 * s.log() - math.log(2 * math.pi)
        return -torch.logsumexp(logpi + comp, -1).mean()


def arm(n, g):
    """two-link arm: which joint angles reach the point? two solutions"""
    a = torch.rand(n, generator=g) * 1.2 + 0.2
    b = (torch.rand(n, generator=g) * 1.2 + 0.4) * (torch.randint(0, 2, (n,), generator=g) * 2 - 1)
    x = torch.stack([a.cos() + 0.8 * (a + b).cos(), a.sin() + 0.8 * (a + b).sin()], -1)
    return x, torch.stack([a, b], -1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = MDN()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9985)
    curve = []
    with observe(net, opt):
        for step in range(1400):
            x, y = arm(128, g)
            loss = net.nll(x, y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        out = net.nll(*arm(2000, g)).item()
    return {"metric": out, "better": "lower", "curve": curve}
