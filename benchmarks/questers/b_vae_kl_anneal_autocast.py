"""HEALTHY: a convolutional VAE under bfloat16 autocast, with gradient accumulation and a KL weight that is annealed from 0 to 1: the total loss rises for
a long while because its second term is switched on, by design."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_vae_kl_anneal_autocast"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ConvVAE(nn.Module):
    def __init__(self, z=6, c=16):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, c, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(c, 2 * c, 4, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.mu, self.logvar = nn.Linear(2 * c * 16, z), nn.Linear(2 * c * 16, z)
        self.lift = nn.Linear(z, 2 * c * 16)
        self.dec = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(c, 1, 4, 2, 1),
        )

    def forward(self, x):
        h = self.enc(x)
        mu, logvar = self.mu(h).float(), self.logvar(h).float()
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.dec(self.lift(z).unflatten(1, (-1, 4, 4))), mu, logvar


def ellipses(n, g):
    ax = torch.linspace(-1, 1, 16)
    yy, xx = torch.meshgrid(ax, ax, indexing="ij")
    cx, cy, a, b = torch.rand(4, n, 1, 1, generator=g)
    d = ((xx - cx + 0.5) / (0.25 + 0.3 * a)) ** 2 + ((yy - cy + 0.5) / (0.25 + 0.3 * b)) ** 2
    return torch.sigmoid(5 * (1 - d))[:, None]


def elbo_terms(model, x):
    rec, mu, logvar = model(x)
    recon = F.mse_loss(rec.float(), x, reduction="none").sum((1, 2, 3)).mean() / (2 * 0.2**2)
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return recon, kl


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    data, test = ellipses(3000, g), ellipses(500, g)
    vae = ConvVAE()
    opt = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=1e-4)
    curve, accum = [], 2
    with observe(vae, opt):
        for step in range(400):
            beta = min(1.0, max(0.0, (step - 100) / 200))
            opt.zero_grad()
            total = 0.0
            for _ in range(accum):
                x = data[torch.randint(0, len(data), (32,), generator=g)]
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    recon, kl = elbo_terms(vae, x)
                loss = (recon + beta * kl) / accum
                loss.backward()
                total += loss.item()
            opt.step()
            curve.append(total)
    with torch.no_grad():
        rec = vae(test)[0]
        r2 = 1 - ((rec - test) ** 2).mean() / ((test - data.mean(0)) ** 2).mean()
    return {"metric": r2.item(), "better": "higher", "curve": curve}
