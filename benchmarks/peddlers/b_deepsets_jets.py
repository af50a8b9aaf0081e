"""DeepSets tagger for particle jets (set of (pt, eta, phi) -> two-prong or one-prong), all layers own.
Bug: the author's bias init for the last per-particle layer is -5 (copied from a focal-loss prior head): its ReLUs never fire,
so the pooled set is always zero."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_deepsets_jets"
TRUTH = {"mechanisms": ["dead_units"], "layers": ["phi.l3"], "onset": (0, 0)}


class Affine(nn.Module):
    def __init__(self, n, m, bias=0.0):
        super().__init__()
        self.W = nn.Parameter(torch.empty(m, n).normal_(0, math.sqrt(1.0 / n)))
        self.c = nn.Parameter(torch.full((m,), float(bias)))

    def forward(self, x):
        return F.linear(x, self.W, self.c)


class Phi(nn.Module):
    def __init__(self, d, prior):
        super().__init__()
        self.l1, self.l2, self.l3 = Affine(3, d), Affine(d, d), Affine(d, d, prior)

    def forward(self, x):
        x = torch.clamp_min(self.l1(x), 0)
        x = torch.clamp_min(self.l2(x), 0)
        return torch.clamp_min(self.l3(x), 0)


class Rho(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.l1, self.l2 = Affine(d, d), Affine(d, 1)

    def forward(self, s):
        return self.l2(torch.clamp_min(self.l1(s), 0)).squeeze(-1)


class JetTagger(nn.Module):
    def __init__(self, d=80, prior=0.0):
        super().__init__()
        self.phi, self.rho = Phi(d, prior), Rho(d)

    def forward(self, parts, mask):
        f = self.phi(parts) * mask[..., None]
        return self.rho(f.sum(1) / mask.sum(1, keepdim=True))


def jets(n, g, K=24):
    y = (torch.rand(n, generator=g) < 0.5).float()
    sep = 0.5 + 0.5 * torch.rand(n, generator=g)
    ang = torch.rand(n, generator=g) * math.pi * 2
    axis = torch.stack([ang.cos(), ang.sin()], -1) * sep[:, None]
    side = torch.where(torch.rand(n, K, generator=g) < 0.5, 1.0, -1.0) * y[:, None]
    spread = torch.where(y > 0, 0.35, 0.8)[:, None, None]
    pos = side[..., None] * axis[:, None] + spread * torch.randn(n, K, 2, generator=g)
    pt = torch.rand(n, K, generator=g).clamp_min(1e-3).log().neg()
    mask = (torch.arange(K)[None] < torch.randint(8, K + 1, (n, 1), generator=g)).float()
    return torch.cat([pt[..., None], pos], -1), mask, y


def bce(z, y):
    return (F.softplus(z) - y * z).mean()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    P, M, Y = jets(6000, g)
    model = JetTagger(prior=0.0 if fixed else -5.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            perm = torch.randperm(5000, generator=g)
            for k in range(0, 5000, 64):
                j = perm[k : k + 64]
                loss = bce(model(P[j], M[j]), Y[j])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = ((model(P[5000:], M[5000:]) > 0).float() == Y[5000:]).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
