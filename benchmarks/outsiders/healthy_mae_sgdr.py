"""Healthy but odd: masked autoencoder ViT, 75 % of patches dropped, frozen sin-cos positions, SGDR warm restarts, zero-init residual branches."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "healthy-mae-sgdr"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def make_data(n, g, s=24):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    a = 3.14 * torch.rand(n, 1, 1, generator=g)
    f = 0.2 + 0.3 * torch.rand(n, 1, 1, generator=g)
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    return (
        torch.sin(f * (xx * a.cos() + yy * a.sin()) + ph)[:, None]
        + torch.randn(n, 1, 1, 1, generator=g) * 0.5
    )


class Block(nn.Module):
    def __init__(self, d, h=4):
        super().__init__()
        self.n1 = nn.LayerNorm(d)
        self.att = nn.MultiheadAttention(d, h, batch_first=True)
        self.n2 = nn.LayerNorm(d)
        self.fc1, self.fc2 = (nn.Linear(d, 2 * d), nn.Linear(2 * d, d))
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x):
        y = self.n1(x)
        x = x + self.att(y, y, y, need_weights=False)[0]
        return x + self.fc2(F.gelu(self.fc1(self.n2(x))))


class MAE(nn.Module):
    def __init__(self, d=48, P=4, n=36):
        super().__init__()
        self.P, self.n = (P, n)
        self.embed = nn.Linear(P * P, d)
        i = torch.arange(n)
        pos = torch.cat(
            [
                torch.sin((i % 6)[:, None] * 1.0 / 3 ** torch.arange(d // 4)),
                torch.cos((i % 6)[:, None] / 3 ** torch.arange(d // 4)),
                torch.sin((i // 6)[:, None] / 3 ** torch.arange(d // 4)),
                torch.cos((i // 6)[:, None] / 3 ** torch.arange(d // 4)),
            ],
            1,
        )
        self.pos = nn.Parameter(pos[None], requires_grad=False)
        self.mask = nn.Parameter(torch.zeros(1, 1, d))
        nn.init.normal_(self.mask, std=0.02)
        self.enc = nn.ModuleList([Block(d) for _ in range(2)])
        self.mid = nn.Linear(d, d)
        self.dec = nn.ModuleList([Block(d) for _ in range(2)])
        self.norm, self.pred = (nn.LayerNorm(d), nn.Linear(d, P * P))

    def patches(self, x):
        return F.unfold(x, self.P, stride=self.P).transpose(1, 2)

    def forward(self, x, keep=9):
        p = self.patches(x)
        B = len(p)
        idx = torch.rand(B, self.n).argsort(1)
        vis = idx[:, :keep]
        d = self.pos.shape[-1]
        h = self.embed(p) + self.pos
        h = torch.gather(h, 1, vis[:, :, None].expand(-1, -1, d))
        for b in self.enc:
            h = b(h)
        full = (
            self.mask.expand(B, self.n, d).scatter(
                1, vis[:, :, None].expand(-1, -1, d), self.mid(h)
            )
            + self.pos
        )
        for b in self.dec:
            full = b(full)
        out = self.pred(self.norm(full))
        m = torch.ones(B, self.n).scatter(1, vis, 0.0)
        return ((out - p) ** 2).mean(2).mul(m).sum() / m.sum()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(800, g)
    m = MAE()
    opt = torch.optim.AdamW(
        [p for p in m.parameters() if p.requires_grad],
        lr=0.002,
        betas=(0.9, 0.95),
        weight_decay=0.05,
    )
    sch = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 100, eta_min=1e-05)
    hist = []
    with observe(m, opt):
        for step in range(300):
            loss = m(x[torch.randint(0, 800, (24,), generator=g)])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower", "first": hist[0]}
