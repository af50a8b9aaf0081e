"""Healthy: beta-VAE on two-stroke curves. The ELBO is summed over batch and pixels (so the loss is in the hundreds and lr = 6e-6 of SGD is right), and
the KL weight is warmed up from 0 to 1, so the loss rises in the middle by design."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_vae_sum_loss_warmup"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class VAE(nn.Module):
    def __init__(self, d=64, h=256, z=4):
        super().__init__()
        self.fc1 = nn.Linear(d, h)
        self.fc_mu, self.fc_logvar = nn.Linear(h, z), nn.Linear(h, z)
        self.fc3, self.fc4 = nn.Linear(z, h), nn.Linear(h, d)

    def encode(self, x):
        h = torch.tanh(self.fc1(x))
        return self.fc_mu(h), self.fc_logvar(h)

    def reparameterize(self, mu, logvar):
        return mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)

    def decode(self, z):
        return self.fc4(torch.tanh(self.fc3(z)))

    def forward(self, x):
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(rec, x, mu, logvar, beta, sigma=0.3):
    r = 0.5 * F.mse_loss(rec, x, reduction="sum") / sigma**2
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return r + beta * kld


def curves(n, g):
    t = torch.linspace(0, 1, 32)
    a, b, c, d = (torch.rand(n, 1, generator=g) * 2 - 1 for _ in range(4))
    x = torch.cat([a * torch.sin(3 * t + 2 * b), c * t + d * torch.cos(4 * t)], 1)
    return x + 0.05 * torch.randn(n, 64, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 51)
    x, xt = curves(4000, g), curves(800, g)
    model = VAE()
    optimizer = torch.optim.SGD(model.parameters(), lr=6e-6, momentum=0.9)
    curve, epochs = [], 36
    with observe(model, optimizer):
        for epoch in range(epochs):
            beta = min(1.0, max(0.0, (epoch - 8) / 12))
            for i in torch.randperm(len(x)).split(100):
                optimizer.zero_grad()
                rec, mu, logvar = model(x[i])
                loss = loss_function(rec, x[i], mu, logvar, beta)
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        mu, _ = model.encode(xt)
        r2 = 1 - (F.mse_loss(model.decode(mu), xt) / xt.var(0).mean()).item()
    return {"metric": r2, "better": "higher", "curve": curve}
