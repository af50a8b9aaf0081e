"""A small digit GAN whose discriminator step clears the wrong optimizer (a copied line), so the
discriminator keeps summing its own and the generator's gradients for ever."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import parametrizations

ID = "gan-clears-the-wrong-optimizer"
TRUTH = {"mechanisms": ["gradients_not_cleared"], "layers": None, "onset": (0, 2)}


class Generator(nn.Module):
    def __init__(self, latent=16):
        super().__init__()
        self.latent = latent
        self.fc = nn.Linear(latent, 32 * 4)
        self.up1 = nn.ConvTranspose2d(32, 24, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(24, 1, 4, stride=2, padding=1)
        self.b0, self.b1 = nn.BatchNorm2d(32), nn.BatchNorm2d(24)

    def forward(self, n):
        x = self.fc(torch.randn(n, self.latent)).view(n, 32, 2, 2)
        x = F.relu(self.b0(x))
        x = F.relu(self.b1(self.up1(x)))
        return torch.tanh(self.up2(x))


def discriminator():
    sn = parametrizations.spectral_norm
    return nn.Sequential(
        sn(nn.Conv2d(1, 16, 3, padding=1)),
        nn.LeakyReLU(0.2),
        sn(nn.Conv2d(16, 32, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        sn(nn.Linear(32 * 16, 1)),
    )


def energy_distance(a, b):
    a, b = a.flatten(1), b.flatten(1)
    n, m = len(a), len(b)
    aa = torch.cdist(a, a).sum() / (n * (n - 1))
    bb = torch.cdist(b, b).sum() / (m * (m - 1))
    return (2 * torch.cdist(a, b).mean() - aa - bb).item()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    real_images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    gen, disc = Generator(), discriminator()
    opt_g = torch.optim.Adam(gen.parameters(), lr=1e-3, betas=(0.5, 0.99))
    opt_d = torch.optim.Adam(disc.parameters(), lr=1e-3, betas=(0.5, 0.99))
    curve = []
    with observe(disc, opt_d):
        for _ in range(500):
            real = real_images[torch.randint(len(real_images), (32,))]
            # discriminator, hinge loss
            fake = gen(32).detach()
            loss_d = F.relu(1 - disc(real)).mean() + F.relu(1 + disc(fake)).mean()
            if fixed:
                opt_d.zero_grad()
            else:
                opt_g.zero_grad()
            loss_d.backward()
            opt_d.step()
            # generator
            loss_g = -disc(gen(32)).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            curve.append(loss_d.item())
    gen.eval()
    with torch.no_grad():
        score = energy_distance(gen(1000), real_images[:1000])
    return {"metric": score, "better": "lower", "curve": curve}
