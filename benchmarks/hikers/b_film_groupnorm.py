"""Conditional diffusion on 2-D points with FiLM blocks and an EMA copy. The conditioner's GroupNorm has as many groups as channels (copied from the
convolutional code, where it normalizes over space): on a vector each group is one value, the output is constant and the condition is erased."""

import copy, math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_film_groupnorm"
TRUTH = {
    "mechanisms": ["degenerate_normalization"],
    "layers": ["cond.norm", "cond"],
    "onset": (0, 0),
}


class Conditioner(nn.Module):
    def __init__(self, d, classes, groups):
        super().__init__()
        self.cls = nn.Embedding(classes, d)
        self.t = nn.Linear(16, d)
        self.norm = nn.GroupNorm(groups, d)
        self.out = nn.Linear(d, d)

    def forward(self, t, y):
        f = torch.exp(-math.log(1000.0) * torch.arange(8) / 8)
        a = t[:, None] * 100 * f
        return F.silu(self.out(self.norm(self.t(torch.cat([a.sin(), a.cos()], -1)) + self.cls(y))))


class FiLM(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d, elementwise_affine=False)
        self.mod = nn.Linear(d, 2 * d)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))

    def forward(self, x, c):
        s, b = self.mod(c).chunk(2, -1)
        return x + self.ff(self.norm(x) * (1 + s) + b)


class Eps(nn.Module):
    def __init__(self, d=48, classes=6, groups=8):
        super().__init__()
        self.inp = nn.Linear(2, d)
        self.cond = Conditioner(d, classes, groups)
        self.blocks = nn.ModuleList(FiLM(d) for _ in range(3))
        self.out = nn.Linear(d, 2)

    def forward(self, x, t, y):
        c, h = self.cond(t, y), self.inp(x)
        for b in self.blocks:
            h = b(h, c)
        return self.out(h)


def sample(n, g):
    y = torch.randint(0, 6, (n,), generator=g)
    a = y * math.pi / 3
    return 1.5 * torch.stack([a.cos(), a.sin()], 1) + 0.12 * torch.randn(n, 2, generator=g), y


def diffuse(x, t, e):
    al = torch.cos(t * math.pi / 2)[:, None]
    return al * x + (1 - al**2).clamp(min=1e-5).sqrt() * e


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 70)
    X, Y = sample(4000, g)
    model = Eps(groups=8 if fixed else 48)
    ema = copy.deepcopy(model).requires_grad_(False)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    curve = []
    with observe(model, opt):
        for step in range(800):
            for grp in opt.param_groups:
                grp["lr"] = 2e-3 * min(1, (step + 1) / 50) * (1 - 0.9 * step / 800)
            i = torch.randint(0, len(X), (128,))
            t = torch.rand(128) * 0.98 + 0.01
            e = torch.randn(128, 2)
            loss = F.mse_loss(model(diffuse(X[i], t, e), t, Y[i]), e)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
            with torch.no_grad():
                for a, b in zip(ema.parameters(), model.parameters()):
                    a.lerp_(b, 0.02)
    with torch.no_grad():
        Xv, Yv = sample(3000, g)
        t = torch.rand(3000, generator=g) * 0.98 + 0.01
        e = torch.randn(3000, 2, generator=g)
        m = F.mse_loss(ema(diffuse(Xv, t, e), t, Yv), e).item()
    return {"metric": m, "better": "lower", "curve": curve}
