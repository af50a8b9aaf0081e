"""Particle-jet tagging with a deep-sets / transformer hybrid. The warm-up lambda is (step + 1) / warmup without a min(1, .): after the
warm-up the learning rate goes on growing to 12 times its intended value."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_jet_tagger_uncapped_warmup"
CONF = {"lr": 3e-3, "warmup_steps": 40, "total": 480, "batch": 48, "dim": 40}
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (40, 44)}


class JetFormer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Linear(4, dim)
        self.attn = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cls = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, p, pad):
        h = self.proj(p)
        h = self.n1(h + self.attn(h, h, h, key_padding_mask=pad, need_weights=False)[0])
        h = self.n2(h + self.ff(h))
        keep = (~pad).float()[..., None]
        return self.cls((h * keep).sum(1) / keep.sum(1)).squeeze(-1)


def jets(n, g, m=16):
    """Two-prong jets against one-prong jets."""
    y = (torch.rand(n, generator=g) < 0.5).float()
    axis = 0.35 * torch.randn(n, 1, 2, generator=g)
    phi = torch.rand(n, 1, generator=g) * 6.2832
    prong = torch.stack([phi.cos(), phi.sin()], -1) * 0.45
    side = (torch.rand(n, m, generator=g) < 0.5).float()[..., None] * 2 - 1
    spread = 0.30 + 0.25 * (1 - y)[:, None, None]
    eta_phi = axis + prong * side * y[:, None, None] + spread * torch.randn(n, m, 2, generator=g)
    logpt = torch.randn(n, m, 1, generator=g)
    e = logpt + 0.3 * torch.randn(n, m, 1, generator=g)
    count = torch.randint(8, m + 1, (n, 1), generator=g)
    pad = torch.arange(m)[None] >= count
    x = torch.cat([eta_phi * 2, logpt, e], -1).masked_fill(pad[..., None], 0.0)
    return x, pad, y


def build(params, conf, fixed):
    opt = torch.optim.Adam(params, lr=conf["lr"])
    w = conf["warmup_steps"]

    def factor(step):
        f = (step + 1) / w
        return min(1.0, f) if fixed else f

    return opt, torch.optim.lr_scheduler.LambdaLR(opt, factor)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 21)
    x, pad, y = jets(5000, g)
    vx, vpad, vy = jets(1500, g)
    model = JetFormer(CONF["dim"])
    opt, sched = build(model.parameters(), CONF, fixed)
    curve = []
    with observe(model, opt):
        for step in range(CONF["total"]):
            i = torch.randint(0, len(x), (CONF["batch"],), generator=g)
            loss = F.binary_cross_entropy_with_logits(model(x[i], pad[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        val = F.binary_cross_entropy_with_logits(model(vx, vpad), vy).item()
    return {"metric": val, "better": "lower", "curve": curve}
