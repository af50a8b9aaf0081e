"""Set-transformer-like amortised clustering: points of a set -> parameters of a mixture of 4 Gaussians, trained by the
mixture likelihood. Bug: the seed vectors of the pooling attention are allocated with torch.zeros and never randomised, so all
4 slots are the same query, give the same component and get the same gradient for ever."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_amortised_clustering"
TRUTH = {"mechanisms": ["symmetric_initialization"], "layers": ["pma"], "onset": (0, 0)}
K = 4


class MAB(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.att = nn.MultiheadAttention(d, heads, batch_first=True)
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, q, kv):
        h = self.ln1(q + self.att(q, kv, kv, need_weights=False)[0])
        return self.ln2(h + self.ff(h))


class PMA(nn.Module):
    def __init__(self, d, k, fixed):
        super().__init__()
        self.seeds = nn.Parameter(torch.zeros(1, k, d))
        if fixed:
            nn.init.xavier_uniform_(self.seeds)
        self.mab = MAB(d)

    def forward(self, x):
        return self.mab(self.seeds.expand(len(x), -1, -1), x)


class SetNet(nn.Module):
    def __init__(self, fixed, d=48):
        super().__init__()
        self.inp = nn.Linear(2, d)
        self.enc = nn.ModuleList([MAB(d), MAB(d)])
        self.pma = PMA(d, K, fixed)
        self.slot = MAB(d)
        self.out = nn.Linear(d, 5)  # logit, mean (2), log-std (2)

    def forward(self, x):
        h = self.inp(x)
        for m in self.enc:
            h = m(h, h)
        s = self.pma(h)
        return self.out(self.slot(s, s))


def mixture_nll(x, par):
    logpi = F.log_softmax(par[..., 0], -1).unsqueeze(1)
    mu, ls = par[..., 1:3].unsqueeze(1), par[..., 3:5].clamp(-4, 2).unsqueeze(1)
    z = (x.unsqueeze(2) - mu) * torch.exp(-ls)
    lp = (-0.5 * z.pow(2) - ls - 0.5 * math.log(2 * math.pi)).sum(-1)
    return -torch.logsumexp(logpi + lp, -1).mean()


def sets(n, g, P=40):
    mu = torch.rand(n, K, 2, generator=g) * 6 - 3
    lab = torch.randint(0, K, (n, P), generator=g)
    c = mu.gather(1, lab.unsqueeze(-1).expand(-1, -1, 2))
    return c + 0.3 * torch.randn(n, P, 2, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    model = SetNet(fixed)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 50)
    cos = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 400)
    sched = torch.optim.lr_scheduler.SequentialLR(opt, [warm, cos], [50])
    curve = []
    with observe(model, opt):
        for step in range(450):
            x = sets(20, g)
            loss = mixture_nll(x, model(x))
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x = sets(400, g)
        nll = mixture_nll(x, model(x)).item()
    return {"metric": nll, "better": "lower", "curve": curve}
