"""Healthy but odd: a digits VAE with cyclical KL annealing, whose loss has a saw-tooth shape and
jumps up over and over as the KL weight grows from 0 to 1 (as asked in issues of VAE repositories,
"loss goes up again and again")."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

ID = "a-vae-cyclical"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}


class VAE(nn.Module):
    def __init__(self, pixels=64, hidden=256, latent=12):
        super().__init__()
        self.fc1 = nn.Linear(pixels, hidden)
        self.fc_mu = nn.Linear(hidden, latent)
        self.fc_logvar = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, pixels)

    def encode(self, x):
        h = F.relu(self.fc1(x * 2 - 0.6))
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.decode(z), mu, logvar


def vae_terms(logits, x, mu, logvar):
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return rec, kl


def cyclical_weight(step, period=100):
    """0 at the start of a cycle, rising to 1 at its middle, then held."""
    return min(1.0, 2 * (step % period) / period)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    pixels = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    order = torch.randperm(len(pixels))
    data, test = pixels[order[:1500]], pixels[order[1500:]]
    model = VAE()
    optimizer = torch.optim.Adamax(model.parameters(), lr=4e-3)
    curve = []
    with observe(model, optimizer):
        for step in range(600):
            x = data[torch.randint(0, len(data), (128,))]
            logits, mu, logvar = model(x)
            rec, kl = vae_terms(logits, x, mu, logvar)
            loss = rec + cyclical_weight(step) * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        logits, mu, logvar = model(test)
        error = F.mse_loss(torch.sigmoid(model.decode(mu)), test).item()
    return {"metric": error, "better": "lower", "curve": curve}
