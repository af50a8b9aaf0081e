"""Healthy. Conditional VAE (the caffe tutorial): the KL term goes UP during the whole training while the reconstruction gets
better; more information is put into the latents, as it should be: cdoersch/vae_tutorial issue 7."""

import torch
import torch.nn as nn

ID = "a_ok_vae_kl_rises"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class CVAE(nn.Module):
    def __init__(self, zdim=6, n_cls=4):
        super().__init__()
        self.label = nn.Embedding(n_cls, 8)
        self.encoder = nn.Sequential(
            nn.Linear(144 + 8, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU()
        )
        self.mu, self.logsd = nn.Linear(64, zdim), nn.Linear(64, zdim)
        self.decoder = nn.Sequential(
            nn.Linear(zdim + 8, 64), nn.ReLU(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 144)
        )
        nn.init.normal_(self.mu.weight, std=0.01)
        nn.init.zeros_(self.logsd.weight)

    def forward(self, x, y):
        c = self.label(y)
        h = self.encoder(torch.cat([x, c], 1))
        mu, logsd = self.mu(h), self.logsd(h)
        z = mu + logsd.exp() * torch.randn_like(mu)
        return self.decoder(torch.cat([z, c], 1)), mu, logsd


def glyphs(n, g):
    y = torch.randint(0, 4, (n,), generator=g)
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12), indexing="ij")
    c = 0.5 * (torch.rand(n, 2, 1, 1, generator=g) * 2 - 1)
    ang = y.float()[:, None, None] * 0.785
    u = (xx - c[:, 0]) * torch.cos(ang) + (yy - c[:, 1]) * torch.sin(ang)
    v = -(xx - c[:, 0]) * torch.sin(ang) + (yy - c[:, 1]) * torch.cos(ang)
    return torch.exp(-((u / 0.6) ** 2) - (v / 0.15) ** 2).flatten(1).clamp(0, 1), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = glyphs(3000, g)
    vx, vy = glyphs(500, g)
    model = CVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(26):
            for idx in torch.randperm(3000).split(60):
                logits, mu, logsd = model(x[idx], y[idx])
                rec = 20.0 * (logits.sigmoid() - x[idx]).pow(2).sum(1).mean()
                kl = 0.5 * (mu**2 + (2 * logsd).exp() - 1 - 2 * logsd).sum(1).mean()
                loss = rec + kl
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 20.0)
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        err = ((model(vx, vy)[0].sigmoid() - vx) ** 2).mean().item() / vx.var(0).mean().item()
    return {"metric": err, "better": "lower", "curve": curve}
