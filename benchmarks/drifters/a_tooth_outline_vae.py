"""A variational autoencoder learns the outlines of tooth crowns from dental scans. The reconstruction error is averaged over all the
coordinates while the divergence is summed over the latent variables and not averaged likewise, so that the divergence outweighs it by far:
the posterior collapses to the prior, and every tooth is decoded as the mean tooth."""

import math

import torch
from torch import nn

ID = "a_tooth_outline_vae"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

POINTS, LATENT = 48, 8


def crowns(n, gen):
    a = torch.linspace(0, 2 * math.pi, POINTS + 1)[:-1]
    size = 1 + 0.15 * torch.randn(n, 1, generator=gen)
    width = 1 + 0.3 * torch.rand(n, 1, generator=gen)
    cusps = torch.randint(2, 6, (n, 1), generator=gen).float()
    phase = 0.4 * torch.randn(n, 1, generator=gen)
    height = 0.08 + 0.1 * torch.rand(n, 1, generator=gen)
    tilt = 0.15 * torch.randn(n, 1, generator=gen)
    radius = size * (1 + height * torch.cos(cusps * a + phase) + tilt * torch.cos(a))
    xy = torch.stack([radius * width * a.cos(), radius * a.sin()], 1)
    return xy + 0.01 * torch.randn(xy.shape, generator=gen)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(2, 24, 5, stride=2, padding=2, padding_mode="circular"),
            nn.SiLU(),
            nn.Conv1d(24, 32, 5, stride=2, padding=2, padding_mode="circular"),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(32 * POINTS // 4, LATENT)
        self.logvar = nn.Linear(32 * POINTS // 4, LATENT)

    def forward(self, x):
        h = self.conv(x)
        return self.mean(h), self.logvar(h).clamp(-10, 4)


class CrownVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 96),
            nn.SiLU(),
            nn.Linear(96, 96),
            nn.SiLU(),
            nn.Linear(96, 2 * POINTS),
        )

    def forward(self, x, noise):
        mean, logvar = self.encoder(x)
        z = mean + noise * (0.5 * logvar).exp()
        return self.decoder(z).view(-1, 2, POINTS), mean, logvar


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 120)
    x, xt = crowns(2000, gen), crowns(400, gen)
    shift, scale = x.mean(0), x.std()
    x, xt = (x - shift) / scale, (xt - shift) / scale
    vae = CrownVAE()
    optimizer = torch.optim.Adamax(vae.parameters(), lr=4e-3)
    curve = []
    with observe(vae, optimizer):
        for step in range(800):
            xb = x[torch.randint(0, len(x), (64,), generator=gen)]
            out, mean, logvar = vae(xb, torch.randn(64, LATENT, generator=gen))
            recon = ((out - xb) ** 2).mean()
            kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1).mean()
            if fixed:
                kl = kl / (2 * POINTS)
            loss = recon + 0.3 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        out, _, _ = vae(xt, torch.zeros(len(xt), LATENT))
        err = ((out - xt) ** 2).mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
