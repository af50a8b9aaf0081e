"""VAE; hand-written BCE without clamp: log(1 - p) meets p == 1.0 once the decoder is confident."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "vae-handwritten-bce"
TRUTH = {"mechanisms": ["numerical_singularity"], "layers": None, "onset": 66}


def make_data(n, g, s=14):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    r = 3 + 3 * torch.rand(n, 1, 1, generator=g)
    cx = 6 + 2 * torch.rand(n, 1, 1, generator=g)
    cy = 6 + 2 * torch.rand(n, 1, 1, generator=g)
    x = ((xx - cx) ** 2 + (yy - cy) ** 2 < r**2).float()
    return x.flatten(1)


class VAE(nn.Module):
    def __init__(self, d=196, h=128, z=8):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())
        self.mu, self.logvar = (nn.Linear(h, z), nn.Linear(h, z))
        self.dec = nn.Sequential(
            nn.Linear(z, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, d), nn.Sigmoid()
        )

    def forward(self, x):
        h = self.enc(x)
        mu, lv = (self.mu(h), self.logvar(h))
        return (self.dec(mu + torch.randn_like(mu) * (0.5 * lv).exp()), mu, lv)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(2048, g)
    m = VAE()
    opt = torch.optim.Adam(m.parameters(), lr=0.002)
    hist = []
    with observe(m, opt):
        for step in range(500):
            xb = x[torch.randint(0, 2048, (64,), generator=g)]
            p, mu, lv = m(xb)
            q = p.clamp(1e-06, 1 - 1e-06) if fixed else p
            rec = -(xb * torch.log(q) + (1 - xb) * torch.log(1 - q)).sum(1).mean()
            kl = -0.5 * (1 + lv - mu**2 - lv.exp()).sum(1).mean()
            loss = rec + kl
            opt.zero_grad()
            loss.backward()
            opt.step()
            hist.append(loss.item())
    return {"metric": sum(hist[-30:]) / 30, "better": "lower", "curve": hist}
