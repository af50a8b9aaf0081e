"""HEALTHY. Adversarial domain adaptation of a small classifier (source and shifted target). The adversarial loss goes up while the others fall.
Re-enacts wasidennis/AdaptSegNet issue 22 ("the trend of your losses is correct: the adversarial loss will gradually go up")."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_healthy_adapt_adv"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Adapt(nn.Module):
    def __init__(self):
        super().__init__()
        self.segment = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
        self.disc = nn.Sequential(nn.Linear(3, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))


def shapes(n, g, target=False):
    y = torch.randint(0, 3, (n,), generator=g)
    x = torch.zeros(n, 1, 12, 12)
    ph = torch.randint(0, 3, (n,), generator=g)
    for k in range(n):
        p = int(ph[k])
        if y[k] == 0:
            x[k, 0, p::3] = 1
        elif y[k] == 1:
            x[k, 0, :, p::3] = 1
        else:
            x[k, 0, p : p + 6, p : p + 6] = 1
    if target:
        x = 0.7 * x + 0.3
    return x + 0.3 * torch.randn(x.shape, generator=g), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    m = Adapt()
    opt = torch.optim.Adam(
        [
            {"params": m.segment.parameters(), "lr": 1e-3},
            {"params": m.disc.parameters(), "lr": 1e-3, "betas": (0.5, 0.99)},
        ]
    )
    bce, curve = F.binary_cross_entropy_with_logits, []
    with observe(m, opt):
        for it in range(500):
            xs, ys = shapes(24, g)
            xt, _ = shapes(24, g, target=True)
            opt.zero_grad()
            for p in m.disc.parameters():
                p.requires_grad_(False)
            ps, pt = m.segment(xs), m.segment(xt)
            seg = F.cross_entropy(ps, ys)
            d_t = m.disc(F.softmax(pt, 1))
            adv = bce(d_t, torch.ones_like(d_t))
            (seg + 0.01 * adv).backward()
            for p in m.disc.parameters():
                p.requires_grad_(True)
            ds, dt = m.disc(F.softmax(ps.detach(), 1)), m.disc(F.softmax(pt.detach(), 1))
            dis = (bce(ds, torch.ones_like(ds)) + bce(dt, torch.zeros_like(dt))) / 2
            dis.backward()
            opt.step()
            curve.append(seg.item() + adv.item())
    xt, yt = shapes(1000, g, target=True)
    with torch.no_grad():
        acc = (m.segment(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
