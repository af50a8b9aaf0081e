"""Deep sets on small point clouds; view() instead of transpose() before the pooling."""

import math, torch
from torch import nn

ID = "deepsets-view-instead-of-transpose"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


class DeepSets(nn.Module):
    def __init__(self, c, h=64, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.phi = nn.Sequential(nn.Linear(3, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(h, h), nn.ReLU(), nn.Linear(h, c))

    def forward(self, x):
        b, n, f = x.shape
        h = self.phi(x)
        h = h.transpose(0, 1) if self.fixed else h.view(n, b, -1)
        return self.rho(h.mean(0))


def make(seed, n=1500, m=40):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    x = torch.randn(n, m, 3, generator=g)
    ball = x * 0.6
    shell = x / x.norm(dim=2, keepdim=True)
    a = torch.rand(n, m, generator=g) * 2 * math.pi
    ring = torch.stack([a.cos(), a.sin(), 0.1 * x[..., 2]], 2)
    line = x * torch.tensor([1.0, 0.15, 0.15])
    p = torch.stack([ball, shell, ring, line])[y, torch.arange(n)]
    q, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=g))
    p = p @ q + 0.05 * torch.randn(p.shape, generator=g)
    i = torch.randperm(n, generator=g)
    return (p[i], y[i])


def train(observe, seed=0, fixed=False):
    x, y = make(seed)
    torch.manual_seed(seed)
    model = DeepSets(4, fixed=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=0.002)
    losses = []
    with observe(model, opt):
        for epoch in range(13):
            perm = torch.randperm(len(y))
            for s in range(0, len(y) - 47, 48):
                j = perm[s : s + 48]
                loss = nn.functional.cross_entropy(model(x[j]), y[j])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
    return {"metric": sum(losses[-30:]) / 30, "better": "lower"}
