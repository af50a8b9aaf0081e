"""DDPM on small images; ExponentialLR(0.95) meant per epoch is stepped per batch."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "ddpm-explr-per-batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (0, 135)}


def make_data(n, g, s=12):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    k = torch.randint(0, 2, (n, 1, 1), generator=g)
    o = torch.randint(2, 10, (n, 1, 1), generator=g)
    bar = torch.where(k == 0, (xx - o).abs() < 2, (yy - o).abs() < 2).float()
    return (bar * 2 - 1)[:, None]


def temb(t, d):
    f = torch.exp(-math.log(1000) * torch.arange(d // 2) / (d // 2))
    a = t.float()[:, None] * f
    return torch.cat([a.sin(), a.cos()], 1)


class Res(nn.Module):
    def __init__(self, c, e):
        super().__init__()
        self.n1, self.c1 = (nn.GroupNorm(4, c), nn.Conv2d(c, c, 3, padding=1))
        self.emb = nn.Linear(e, c)
        self.n2, self.c2 = (nn.GroupNorm(4, c), nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x, e):
        h = self.c1(F.silu(self.n1(x))) + self.emb(e)[:, :, None, None]
        return x + self.c2(F.silu(self.n2(h)))


class Denoiser(nn.Module):
    def __init__(self, c=16, e=32):
        super().__init__()
        self.e = e
        self.time = nn.Sequential(nn.Linear(e, e), nn.SiLU(), nn.Linear(e, e))
        self.inp = nn.Conv2d(1, c, 3, padding=1)
        self.blocks = nn.ModuleList([Res(c, e) for _ in range(2)])
        self.norm = nn.GroupNorm(4, c)
        self.out = nn.Conv2d(c, 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, t):
        e = self.time(temb(t, self.e))
        h = self.inp(x)
        for b in self.blocks:
            h = b(h, e)
        return self.out(F.silu(self.norm(h)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(640, g)
    T = 200
    ab = torch.cumprod(1 - torch.linspace(0.0001, 0.04, T), 0)
    m = Denoiser()
    opt = torch.optim.AdamW(m.parameters(), lr=0.001)
    sch = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
    hist = []
    with observe(m, opt):
        for epoch in range(15):
            perm = torch.randperm(640, generator=g)
            for i in range(0, 640, 32):
                x0 = x[perm[i : i + 32]]
                t = torch.randint(0, T, (32,), generator=g)
                eps = torch.randn(x0.shape, generator=g)
                a = ab[t][:, None, None, None]
                xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
                loss = F.mse_loss(m(xt, t), eps)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(m.parameters(), 1.0)
                opt.step()
                hist.append(loss.item())
                if not fixed:
                    sch.step()
            if fixed:
                sch.step()
    return {"metric": sum(hist[-40:]) / 40, "better": "lower"}
