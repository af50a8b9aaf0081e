"""A deep set network for point clouds, 10 residual blocks each behind a gate that starts at zero, and a classifier that starts at zero
too (as in ReZero, adaLN-Zero or SkipInit). At first nearly every parameter gets an exactly zero gradient and all logits are equal,
which looks like a dead or symmetric network. It is the intended start: the gates open within a few steps and the network learns."""

import math
import torch
import torch.nn as nn

ID = "b_deepset_zero_gates"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class SetBlock(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.own, self.pooled = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.out = nn.Linear(d, d)
        self.gate = nn.Parameter(torch.zeros(d))

    def forward(self, x):
        h = self.norm(x)
        h = self.own(h) + self.pooled(h.mean(1, keepdim=True))
        return x + self.gate * self.out(nn.functional.silu(h))


class SetNet(nn.Module):
    def __init__(self, classes, d=48, depth=10):
        super().__init__()
        self.embed = nn.Linear(3, d)
        self.blocks = nn.Sequential(*[SetBlock(d) for _ in range(depth)])
        self.head = nn.Linear(2 * d, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, pts):
        h = self.blocks(self.embed(pts))
        return self.head(torch.cat([h.mean(1), h.amax(1)], -1))


def clouds(n, m, g):
    y = torch.randint(5, (n,), generator=g)
    v = torch.randn(n, m, 3, generator=g)
    s = v / v.norm(dim=-1, keepdim=True)
    u = 2 * torch.rand(n, m, 3, generator=g) - 1
    face = torch.randint(3, (n, m, 1), generator=g)
    cube = u.scatter(2, face, u.gather(2, face).sign())
    a, b = math.pi * u[..., :1], math.pi * u[..., 1:2]
    cyl = torch.cat([a.cos(), a.sin(), u[..., 2:]], -1)
    torus = torch.cat(
        [(1 + 0.35 * b.cos()) * a.cos(), (1 + 0.35 * b.cos()) * a.sin(), 0.35 * b.sin()], -1
    )
    cone = torch.cat(
        [a.cos() * (1 - u[..., 2:]) / 2, a.sin() * (1 - u[..., 2:]) / 2, u[..., 2:]], -1
    )
    p = torch.stack([s, cube, cyl, torus, cone], 1)[torch.arange(n), y]
    t = 2 * math.pi * torch.rand(n, generator=g)
    o, i = torch.zeros(n), torch.ones(n)
    rot = torch.stack([t.cos(), -t.sin(), o, t.sin(), t.cos(), o, o, o, i], 1).view(n, 3, 3)
    p = p / p.norm(dim=-1).mean(1)[:, None, None]
    return p @ rot + 0.03 * torch.randn(n, m, 3, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 2)
    model = SetNet(5)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = 360
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps)
    ce = nn.CrossEntropyLoss()
    curve = []
    with observe(model, opt):
        for _ in range(steps):
            x, y = clouds(24, 48, g)
            loss = ce(model(x), y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = clouds(800, 48, g)
        acc = (model(x).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
