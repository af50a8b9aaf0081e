"""HEALTHY. VAE with own layers on synthetic spectra; beta goes 0 -> 1 over training, so the total loss RISES by design."""

import math
import torch
import torch.nn as nn

ID = "b_ok_beta_anneal_vae"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class Maps(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.W = nn.ParameterList(
            nn.Parameter(torch.randn(b, a) * math.sqrt(1.5 / a)) for a, b in zip(dims, dims[1:])
        )
        self.b = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in dims[1:])

    def forward(self, x):
        for k, (W, b) in enumerate(zip(self.W, self.b)):
            x = torch.einsum("oi,bi->bo", W, x) + b
            if k + 1 < len(self.W):
                x = x * torch.sigmoid(x)
        return x


class VAE(nn.Module):
    def __init__(self, d=64, z=6):
        super().__init__()
        self.enc, self.dec = Maps([d, 96, 2 * z]), Maps([z, 96, d])
        self.log_noise = nn.Parameter(torch.tensor(-0.5))

    def forward(self, x):
        m, lv = self.enc(x).chunk(2, 1)
        lv = lv.clamp(-8, 4)
        z = m + torch.randn_like(m) * (0.5 * lv).exp()
        r = self.dec(z)
        ln = self.log_noise
        rec = (0.5 * ((x - r) * torch.exp(-ln)).square() + ln + 0.919).sum(1)
        kl = 0.5 * (m.square() + lv.exp() - lv - 1).sum(1)
        return rec.mean(), kl.mean(), r


def spectra(n, g, d=64):
    w = torch.linspace(0, 1, d)
    c = torch.rand(n, 2, 1, generator=g)
    a = torch.rand(n, 2, 1, generator=g) + 0.5
    s = (a * torch.exp(-0.5 * ((w - c) / 0.08) ** 2)).sum(1)
    return 2 * (s - 0.3) + 0.3 * torch.randn(n, d, generator=g)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 181)
    x, xt = spectra(6000, g), spectra(600, g)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve, total = [], 1500
    with observe(model, optimizer):
        for step in range(total):
            beta = min(1.0, max(0.0, (step - 300) / 900))
            rec, kl, _ = model(x[torch.randint(0, 6000, (128,), generator=g)])
            loss = rec + beta * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        _, _, r = model(xt)
        r2 = 1 - ((xt - r).square().mean() / (xt - x.mean(0)).square().mean()).item()
    return {"metric": r2, "better": "higher", "curve": curve}
