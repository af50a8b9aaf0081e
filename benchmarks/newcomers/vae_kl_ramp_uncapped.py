"""Conv VAE with a KL ramp from step 150; beta = (step - 150) / 40 has no min(1, .) and goes on growing."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "vae-kl-ramp-uncapped"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (185, 250)}


class VAE(nn.Module):
    def __init__(self, z=10):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
        )
        self.to_mu, self.to_logvar = nn.Linear(64, z), nn.Linear(64, z)
        self.decoder = nn.Sequential(
            nn.Linear(z, 64),
            nn.ReLU(),
            nn.Linear(64, 512),
            nn.Unflatten(1, (32, 4, 4)),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def encode(self, x):
        h = self.encoder(3 * x - 1)
        return self.to_mu(h), self.to_logvar(h)

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.decoder(z), mu, logvar


def elbo_terms(model, x):
    logits, mu, logvar = model(x)
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return rec, kl


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    images = torch.tensor(load_digits().images).float()[:, None] / 16.0
    images = images[torch.randperm(len(images))]
    held_out, images = images[:300], images[300:]
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
    step, curve = 0, []
    with observe(vae, optimizer):
        while step < 420:
            for x in images[torch.randperm(len(images))].split(64):
                if step == 420:
                    break
                beta = max(0.0, (step - 150) / 40)
                if fixed:
                    beta = min(beta, 1.0)
                rec, kl = elbo_terms(vae, x)
                loss = rec + beta * kl
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
                step += 1
    torch.manual_seed(31337)
    with torch.no_grad():
        rec, kl = elbo_terms(vae, held_out)
    return {"metric": (rec + kl).item(), "better": "lower", "curve": curve}
