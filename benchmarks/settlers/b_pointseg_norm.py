"""Part segmentation of point clouds (PointNet style): every point gets a label of shape and part, from its own features and
the pooled code of the cloud. The code goes through GroupNorm with as many groups as channels, over one value each, and
comes out constant."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_pointseg_norm"
TRUTH = {"mechanisms": ["degenerate_normalization"], "layers": ["context.norm"], "onset": 0}

N_PTS = 80


def cloud(kind, n):
    u = torch.rand(n) * 2 * math.pi
    w = torch.rand(n) * 2 - 1
    if kind == 0:  # sphere
        r = (1 - w**2).sqrt()
        p = torch.stack([r * u.cos(), r * u.sin(), w], 1)
    elif kind == 1:  # cylinder
        p = torch.stack([0.8 * u.cos(), 0.8 * u.sin(), w], 1)
    elif kind == 2:  # cone
        r = (1 - w) / 2
        p = torch.stack([r * u.cos(), r * u.sin(), w], 1)
    else:  # torus
        t = w * math.pi
        r = 0.7 + 0.3 * t.cos()
        p = torch.stack([r * u.cos(), r * u.sin(), 0.3 * t.sin()], 1)
    part = (p[:, 2] > 0).long()
    ang = torch.rand(()) * 2 * math.pi
    c, s = ang.cos(), ang.sin()
    rot = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    p = torch.cat([p[:, :2] @ rot.T, p[:, 2:]], 1) * (
        0.9 + 0.2 * torch.rand(())
    ) + 0.06 * torch.randn(n, 3)
    return p, kind * 2 + part


def make(n):
    items = [cloud(i % 4, N_PTS) for i in range(n)]
    return torch.stack([p for p, _ in items]), torch.stack([y for _, y in items])


class Context(nn.Module):
    """code of the whole cloud"""

    def __init__(self, d, groups):
        super().__init__()
        self.proj = nn.Linear(d, d)
        self.norm = nn.GroupNorm(groups, d)

    def forward(self, feats):
        return F.silu(self.norm(self.proj(feats.amax(dim=1))))


class SegNet(nn.Module):
    def __init__(self, d=48, groups=48):
        super().__init__()
        self.local = nn.Sequential(nn.Linear(3, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, d))
        self.context = Context(d, groups)
        self.seg = nn.Sequential(nn.Linear(2 * d, 64), nn.SiLU(), nn.Linear(64, 8))

    def forward(self, p):
        h = self.local(p)
        code = self.context(h).unsqueeze(1).expand(-1, p.size(1), -1)
        return self.seg(torch.cat([F.silu(h), code], -1))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    xtr, ytr = make(800)
    xte, yte = make(200)
    net = SegNet(groups=4 if fixed else 48)
    opt = torch.optim.NAdam(net.parameters(), lr=2e-3)
    history = []

    def on_batch(p, y):
        opt.zero_grad()
        loss = F.cross_entropy(net(p).flatten(0, 1), y.flatten())
        loss.backward()
        opt.step()
        history.append(loss.item())

    with observe(net, opt):
        for epoch in range(20):
            for idx in torch.randperm(len(xtr)).split(32):
                on_batch(xtr[idx], ytr[idx])
    net.eval()
    with torch.no_grad():
        wrong = (net(xte).argmax(-1) != yte).float().mean().item()
    return {"metric": wrong, "better": "lower", "curve": history}
