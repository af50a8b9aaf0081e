"""Healthy but odd: WGAN, weight clipping 0.03, RMSprop, 3 critic steps per generator step; losses hover and change sign."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "healthy-wgan-clip"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


def real(n, g, s=12):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    c = 4 + 4 * torch.rand(n, 2, 1, 1, generator=g)
    w = 1.5 + torch.rand(n, 1, 1, generator=g)
    return (2 * torch.exp(-((xx - c[:, 0]) ** 2 + (yy - c[:, 1]) ** 2) / (2 * w**2)) - 1)[:, None]


class G(nn.Module):
    def __init__(self, z=8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(z, 64),
            nn.ReLU(),
            nn.Linear(64, 32 * 9),
            nn.ReLU(),
            nn.Unflatten(1, (32, 3, 3)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z)


class C(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(288, 1),
        )

    def forward(self, x):
        return self.net(x)


class WGAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.G, self.C = (G(), C())


def dist(m, x):
    with torch.no_grad():
        f = m.G(torch.randn(256, 8)).flatten(1)
        r = x[:256].flatten(1)
        return (
            2 * torch.cdist(f, r).mean() - torch.cdist(f, f).mean() - torch.cdist(r, r).mean()
        ).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = real(1024, g)
    m = WGAN()
    oc = torch.optim.RMSprop(m.C.parameters(), 0.0005)
    og = torch.optim.RMSprop(m.G.parameters(), 0.0005)
    first = dist(m, x)
    with observe(m, og):
        for it in range(200):
            for _ in range(3):
                xb = x[torch.randint(0, 1024, (32,), generator=g)]
                lc = m.C(m.G(torch.randn(32, 8)).detach()).mean() - m.C(xb).mean()
                oc.zero_grad()
                lc.backward()
                oc.step()
                with torch.no_grad():
                    for p in m.C.parameters():
                        p.clamp_(-0.03, 0.03)
            lg = -m.C(m.G(torch.randn(32, 8))).mean()
            og.zero_grad()
            lg.backward()
            og.step()
    return {"metric": dist(m, x), "better": "lower", "first": first}
