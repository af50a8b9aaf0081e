"""Healthy: convolutional VAE with a cyclic KL weight. The total loss (summed over pixels) rises by design each time beta ramps up,
and the KL per unit moves up and down with it; reconstructions and held-out ELBO end well."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_ok_vae_cyclic_beta"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class ConvVAE(nn.Module):
    def __init__(self, z=6):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            nn.ELU(),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ELU(),
        )
        self.mu, self.logvar = nn.Linear(64, z), nn.Linear(64, z)
        self.dec = nn.Sequential(
            nn.Linear(z, 64),
            nn.ELU(),
            nn.Linear(64, 512),
            nn.ELU(),
            nn.Unflatten(1, (32, 4, 4)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ELU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )

    def forward(self, x):
        h = self.enc(x)
        mu, lv = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * lv).exp()
        return self.dec(z), mu, lv


def ellipses(n, g, s=16):
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, s), torch.linspace(-1, 1, s), indexing="ij")
    c = torch.rand(n, 2, 1, 1, generator=g) - 0.5
    r = 0.25 + 0.4 * torch.rand(n, 2, 1, 1, generator=g)
    d = ((yy - c[:, 0]) / r[:, 0]) ** 2 + ((xx - c[:, 1]) / r[:, 1]) ** 2
    return torch.sigmoid(8 * (1 - d))[:, None]


def elbo_terms(model, x):
    logit, mu, lv = model(x)
    rec = F.binary_cross_entropy_with_logits(logit, x, reduction="none").sum((1, 2, 3)).mean()
    kl = 0.5 * (mu**2 + lv.exp() - 1 - lv).sum(-1).mean()
    return rec, kl


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(66 + seed)
    x, xv = ellipses(2000, g), ellipses(400, g)
    model = ConvVAE()
    optimizer = torch.optim.Adamax(model.parameters(), lr=3e-3)
    curve, cycle = [], 160
    with observe(model, optimizer):
        for step in range(640):
            b = torch.randint(0, len(x), (64,), generator=g)
            beta = 4.0 * min(1.0, 2.0 * (step % cycle) / cycle) if step < 480 else 1.0
            rec, kl = elbo_terms(model, x[b])
            loss = rec + beta * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        p = xv.mean(0, keepdim=True)
        base = F.binary_cross_entropy(p.expand_as(xv), xv, reduction="none").sum((1, 2, 3)).mean()
        floor = F.binary_cross_entropy(xv, xv, reduction="none").sum((1, 2, 3)).mean()
        rec, kl = elbo_terms(model, xv)
        score = ((rec + kl - floor) / (base - floor)).item()  # 1 = mean image, 0 = perfect and free
    return {"metric": score, "better": "lower", "curve": curve}
