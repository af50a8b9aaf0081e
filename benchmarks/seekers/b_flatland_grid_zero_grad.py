"""Flatland radiance field (a 2-D scene seen by 1-D cameras): a feature grid and a small decoder with an optimizer each.
Only the decoder's optimizer gets zero_grad, so the grid's gradients pile up over the whole run."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_flatland_grid_zero_grad"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": ["coarse", "fine"], "onset": (0, 2)}


class FeatureGrid(nn.Module):
    def __init__(self, res, ch):
        super().__init__()
        self.table = nn.Parameter(0.05 * torch.randn(1, ch, res, res))

    def forward(self, p):
        f = F.grid_sample(self.table, p[None, None], align_corners=True)
        return f[0, :, 0].T


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse, self.fine = FeatureGrid(12, 6), FeatureGrid(32, 6)
        self.decoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, p):
        o = self.decoder(torch.cat([self.coarse(p), self.fine(p)], -1))
        return F.softplus(o[:, 0] - 1.0), o[:, 1:].sigmoid()


def truth(p):
    sigma = torch.zeros(len(p))
    rgb = torch.full((len(p), 3), 0.5)
    for cx, cy, r, col in (
        (-0.4, 0.1, 0.25, (0.9, 0.1, 0.2)),
        (0.35, 0.4, 0.2, (0.1, 0.8, 0.3)),
        (0.2, -0.45, 0.3, (0.2, 0.3, 0.9)),
        (-0.3, -0.5, 0.12, (0.9, 0.9, 0.1)),
    ):
        inside = ((p - torch.tensor([cx, cy])) ** 2).sum(-1) < r * r
        sigma[inside] = 14.0
        rgb[inside] = torch.tensor(col) * (0.6 + 0.4 * torch.sin(9 * p[inside, :1] + cx))
    return sigma, rgb


def rays(angles, width=40):
    o, d = [], []
    for a in angles:
        c = torch.tensor([math.cos(a), math.sin(a)])
        side = torch.tensor([-c[1], c[0]])
        u = torch.linspace(-0.9, 0.9, width)
        o.append(1.0 * c + u[:, None] * side)
        d.append((-c).expand(width, 2))
    return torch.cat(o), torch.cat(d)


def render(field, o, d, g=None, n=40):
    t = torch.linspace(0.0, 2.0, n + 1)[:-1].expand(len(o), n)
    t = t + (2.0 / n) * (torch.rand(t.shape, generator=g) if g is not None else 0.5)
    p = (o[:, None] + t[..., None] * d[:, None]).reshape(-1, 2)
    s, c = field(p.clamp(-1, 1))
    tau = s.view(len(o), n) * (2.0 / n)
    trans = torch.exp(-(tau.cumsum(-1) - tau))
    w = trans * (1 - torch.exp(-tau))
    return (w[..., None] * c.view(len(o), n, 3)).sum(1) + (1 - w.sum(-1, keepdim=True))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(21 + seed)
    o, d = rays([2 * math.pi * k / 40 for k in range(40)])
    ov, dv = rays([2 * math.pi * (k + 0.5) / 12 for k in range(12)])
    with torch.no_grad():
        c, cv = render(truth, o, d, n=160), render(truth, ov, dv, n=160)
    field = Field()
    grid_opt = torch.optim.Adam(
        list(field.coarse.parameters()) + list(field.fine.parameters()), lr=2e-2, betas=(0.9, 0.99)
    )
    mlp_opt = torch.optim.AdamW(field.decoder.parameters(), lr=3e-3)
    curve = []
    with observe(field, [grid_opt, mlp_opt]):
        for step in range(500):
            b = torch.randint(0, len(o), (160,), generator=g)
            loss = F.mse_loss(render(field, o[b], d[b], g), c[b])
            mlp_opt.zero_grad()
            if fixed:
                grid_opt.zero_grad()
            loss.backward()
            mlp_opt.step()
            grid_opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        psnr = -10 * math.log10(F.mse_loss(render(field, ov, dv, n=80), cv).item())
    return {"metric": psnr, "better": "higher", "curve": curve}
