"""Healthy. VAE over binary images with a KL weight that is zero for 150 steps and then rises to 1: by design the loss rises in mid-run.
Metric: negative ELBO per image on held-out data (a constant guess gives about 40)."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_h_vae_anneal"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Encoder(nn.Module):
    def __init__(self, z):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1), nn.SiLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.SiLU()
        )
        self.mu = nn.Linear(216, z)
        self.lv = nn.Linear(216, z)

    def forward(self, x):
        h = self.conv(x).flatten(1)
        return self.mu(h), self.lv(h).clamp(-8, 8)


class Decoder(nn.Module):
    def __init__(self, z):
        super().__init__()
        self.fc = nn.Linear(z, 216)
        self.up = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(24, 12, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(12, 1, 4, 2, 1),
        )

    def forward(self, z):
        return self.up(self.fc(z).view(-1, 24, 3, 3))


class VAE(nn.Module):
    def __init__(self, z=6):
        super().__init__()
        self.enc, self.dec = Encoder(z), Decoder(z)

    def forward(self, x):
        mu, lv = self.enc(x)
        rec = (
            F.binary_cross_entropy_with_logits(
                self.dec(mu + torch.randn_like(mu) * (lv / 2).exp()), x, reduction="none"
            )
            .sum((1, 2, 3))
            .mean()
        )
        return rec, 0.5 * (mu**2 + lv.exp() - lv - 1).sum(1).mean()


def boxes(n, g, S=12):
    u = torch.arange(S)[None]
    a = torch.randint(0, 7, (n, 2), generator=g)
    w = torch.randint(3, 6, (n, 2), generator=g)
    ix = [((u >= a[:, k : k + 1]) & (u < a[:, k : k + 1] + w[:, k : k + 1])) for k in (0, 1)]
    return (ix[0][:, :, None] & ix[1][:, None]).float()[:, None]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 13)
    X = boxes(4000, g)
    Xv = boxes(500, g)
    model = VAE()
    opt = torch.optim.Adam(
        [{"params": model.enc.parameters()}, {"params": model.dec.parameters(), "lr": 3e-3}],
        lr=2e-3,
    )
    curve = []
    with observe(model, opt):
        for step in range(700):
            beta = min(1.0, max(0.0, (step - 150) / 150))
            rec, kl = model(X[torch.randint(0, len(X), (48,))])
            loss = rec + beta * kl
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        rec, kl = model(Xv)
    return {"metric": (rec + kl).item(), "better": "lower", "curve": curve}
