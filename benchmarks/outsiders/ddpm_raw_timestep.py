"""Conditional denoiser; the raw timestep 0..999 is fed to the time MLP (fix: t / 1000)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "ddpm-raw-timestep"
TRUTH = {"mechanisms": ["unnormalized_inputs"], "layers": ["time.0", "time"], "onset": None}


def make_data(n, g, s=12):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    a = torch.randint(0, 4, (n, 1, 1), generator=g).float() * 0.785
    ph = 6.28 * torch.rand(n, 1, 1, generator=g)
    return torch.sin((xx * a.cos() + yy * a.sin()) * 1.0 + ph)[:, None]


class Denoiser(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, c))
        self.inp = nn.Conv2d(1, c, 3, padding=1)
        self.c1 = nn.Conv2d(c, c, 3, padding=1)
        self.c2 = nn.Conv2d(c, c, 3, padding=1)
        self.c3 = nn.Conv2d(c, c, 3, padding=1)
        self.out = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, x, t):
        e = self.time(t[:, None])[:, :, None, None]
        h = F.relu(self.inp(x) + e)
        h = F.relu(self.c1(h))
        h = F.relu(self.c2(h)) + h
        h = F.relu(self.c3(h)) + h
        return self.out(h)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(640, g)
    T = 1000
    ab = torch.cumprod(1 - torch.linspace(0.0001, 0.02, T), 0)
    m = Denoiser()
    opt = torch.optim.Adam(m.parameters(), lr=0.001)
    hist = []
    with observe(m, opt):
        for step in range(300):
            x0 = x[torch.randint(0, 640, (32,), generator=g)]
            t = torch.randint(0, T, (32,), generator=g)
            eps = torch.randn(x0.shape, generator=g)
            a = ab[t][:, None, None, None]
            xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
            loss = F.mse_loss(m(xt, t.float() / T if fixed else t.float()), eps)
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-40:]) / 40, "better": "lower"}
