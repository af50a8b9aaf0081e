"""beta-VAE on binary stroke images. The decoder ends in Sigmoid and the reconstruction loss is binary_cross_entropy_with_logits,
so probabilities are squashed twice (only 0.5..0.73 can be expressed)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_vae_double_sigmoid"
TRUTH = {
    "mechanisms": ["loss_output_mismatch"],
    "layers": ["decoder", "decoder.5", "decoder.4"],
    "onset": (0, 0),
}
S = 14


def strokes(n, g):
    p0, p1 = torch.rand(n, 2, generator=g) * S, torch.rand(n, 2, generator=g) * S
    t = torch.linspace(0, 1, 12)[None, :, None]
    pts = p0[:, None] * (1 - t) + p1[:, None] * t
    ax = torch.arange(S).float()
    d = (pts[:, :, 0, None, None] - ax[:, None]) ** 2 + (pts[:, :, 1, None, None] - ax) ** 2
    return (d.min(1).values < 1.6).float()


class VAE(nn.Module):
    def __init__(self, sigmoid, z=8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(S * S, 160), nn.ReLU(), nn.Linear(160, 96), nn.ReLU()
        )
        self.mu, self.logvar = nn.Linear(96, z), nn.Linear(96, z)
        self.decoder = nn.Sequential(
            nn.Linear(z, 96),
            nn.ReLU(),
            nn.Linear(96, 160),
            nn.ReLU(),
            nn.Linear(160, S * S),
            nn.Sigmoid() if sigmoid else nn.Identity(),
        )

    def forward(self, x):
        h = self.encoder(x)
        mu, lv = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * lv).exp() if self.training else mu
        return self.decoder(z), mu, lv


def elbo(x, out, mu, lv, beta):
    rec = F.binary_cross_entropy_with_logits(out, x.flatten(1), reduction="sum") / len(x)
    kl = -0.5 * (1 + lv - mu.pow(2) - lv.exp()).sum(1).mean()
    return rec + beta * kl, rec, kl


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 40)
    xtr, xte = strokes(3000, g), strokes(400, g)
    vae = VAE(sigmoid=not fixed)
    opt = torch.optim.Adam(vae.parameters(), lr=1.5e-3)
    curve, epochs = [], 24
    with observe(vae, opt):
        for ep in range(epochs):
            beta = min(1.0, (ep + 1) / 6) * 0.5
            for idx in torch.randperm(len(xtr), generator=g).split(60):
                loss, rec, kl = elbo(xtr[idx], *vae(xtr[idx]), beta)
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    vae.eval()
    with torch.no_grad():
        out = vae(xte)[0]
        p = out.sigmoid() if fixed else out
        t = xte.flatten(1)
        iou = (
            (((p > 0.5) & (t > 0.5)).sum(1) / ((p > 0.5) | (t > 0.5)).sum(1).clamp(min=1))
            .mean()
            .item()
        )
    return {"metric": iou, "better": "higher", "curve": curve}
