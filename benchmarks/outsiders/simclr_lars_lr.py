"""SimCLR; the LARS learning rate of the paper's recipe (4.8) used with plain SGD momentum."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "simclr-lars-lr"
TRUTH = {"mechanisms": ["learning_rate_too_high"], "layers": None, "onset": None}


def make_data(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    x = torch.zeros(n, 3, s, s)
    for _ in range(3):
        col = torch.randn(n, 3, 1, 1, generator=g)
        f = torch.randn(n, 2, 1, 1, generator=g) * 0.6
        ph = 6.28 * torch.rand(n, 1, 1, generator=g)
        x = x + col * torch.sin(f[:, 0] * xx + f[:, 1] * yy + ph)[:, None]
    return x / 1.7


def augment(x, g):
    n = len(x)
    dx, dy = torch.randint(-3, 4, (2,), generator=g).tolist()
    x = torch.roll(x, (dx, dy), (2, 3))
    flip = torch.rand(n, 1, 1, 1, generator=g) < 0.5
    x = torch.where(flip, x.flip(3), x)
    x = x * (0.7 + 0.6 * torch.rand(n, 3, 1, 1, generator=g))
    return x + 0.2 * torch.randn(x.shape, generator=g)


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()

        def cb(i, o, s):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

        self.encoder = nn.Sequential(
            cb(3, 16, 1), cb(16, 32, 2), cb(32, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        return self.projector(self.encoder(x))


def nt_xent(a, b, tau=0.2):
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.t() / tau
    n = len(a)
    sim = sim.masked_fill(torch.eye(2 * n, dtype=torch.bool), -1000000000.0)
    return F.cross_entropy(sim, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(512, g)
    m = SimCLR()
    lr = 0.1 if fixed else 4.8
    opt = torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9, weight_decay=1e-06)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 240)
    hist = []
    with observe(m, opt):
        for step in range(240):
            xb = x[torch.randperm(512, generator=g)[:48]]
            loss = nt_xent(m(augment(xb, g)), m(augment(xb, g)))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower"}
