"""A convolutional VAE on digits: images normalised to [-1, 1] are also used as the BCE targets."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

ID = "conv-vae-bce-negative-targets"
TRUTH = {"mechanisms": ["loss_output_mismatch"], "layers": None, "onset": 0}


class Digits(torch.utils.data.Dataset):
    def __init__(self, images, mean=0.5, std=0.5):
        self.images = torch.tensor(images / 16.0, dtype=torch.float32).unsqueeze(1)
        self.mean, self.std = mean, std

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return (self.images[i] - self.mean) / self.std


class ConvVAE(nn.Module):
    def __init__(self, z=12, width=24):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.fc_mu = nn.Linear(8 * width, z)
        self.fc_logvar = nn.Linear(8 * width, z)
        self.fc_dec = nn.Linear(z, 8 * width)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, x):
        h = self.encoder(x)
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu
        h = F.silu(self.fc_dec(z)).view(len(x), -1, 2, 2)
        return self.decoder(h), mu, logvar


def vae_loss(logits, target, mu, logvar, beta=0.5):
    rec = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    return rec + beta * kl


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    images = load_digits().images[np.random.default_rng(seed).permutation(1797)]
    trainset, heldout = Digits(images[:1500]), Digits(images[1500:])
    loader = torch.utils.data.DataLoader(trainset, batch_size=48, shuffle=True, drop_last=True)
    model = ConvVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(13):
            for x in loader:
                logits, mu, logvar = model(x)
                target = x * 0.5 + 0.5 if fixed else x
                loss = vae_loss(logits, target, mu, logvar)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        x = torch.stack([heldout[i] for i in range(len(heldout))])
        mse = (model(x)[0].sigmoid() - heldout.images).pow(2).mean().item()
    return {"metric": mse, "better": "lower", "curve": curve}
