"""Conv VAE; reconstruction averaged over pixels, KL summed over batch and latents: the prior term wins, posterior collapse."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "convvae-kl-sum"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}


def make_data(n, g, s=16):
    yy, xx = torch.meshgrid(torch.arange(s).float(), torch.arange(s).float(), indexing="ij")
    cx, cy = [3 + 10 * torch.rand(n, 1, 1, generator=g) for _ in range(2)]
    w = 1.5 + 2 * torch.rand(n, 1, 1, generator=g)
    return torch.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * w**2))[:, None]


class VAE(nn.Module):
    def __init__(self, z=8):
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.to_mu, self.to_lv = (nn.Linear(512, z), nn.Linear(512, z))
        self.fc = nn.Linear(z, 512)
        self.dec = nn.Sequential(
            nn.ReLU(),
            nn.Unflatten(1, (32, 4, 4)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        h = self.enc(x)
        mu, lv = (self.to_mu(h), self.to_lv(h))
        return (self.dec(self.fc(mu + torch.randn_like(mu) * torch.exp(lv / 2))), mu, lv)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 1)
    x = make_data(1024, g)
    m = VAE()
    opt = torch.optim.Adam(m.parameters(), lr=0.002)
    rechist = []
    with observe(m, opt):
        for step in range(400):
            xb = x[torch.randint(0, 1024, (32,), generator=g)]
            xr, mu, lv = m(xb)
            kl = -0.5 * torch.sum(1 + lv - mu.pow(2) - lv.exp())
            if fixed:
                loss = 10 * F.mse_loss(xr, xb, reduction="sum") / 32 + kl / 32
            else:
                loss = F.mse_loss(xr, xb) + kl
            opt.zero_grad()
            loss.backward()
            opt.step()
            rechist.append(F.mse_loss(xr, xb).item())
    return {"metric": sum(rechist[-30:]) / 30, "better": "lower"}
