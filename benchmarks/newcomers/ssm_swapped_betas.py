"""S4D-like diagonal state-space model, which cue came last; Adam's betas written in the wrong order, (0.999, 0.9)."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "ssm-swapped-betas"
TRUTH = {"mechanisms": ["excessive_momentum"], "layers": [], "onset": (0, 1)}
L, NOISE, CUES = 48, 4, 6


class S4D(nn.Module):
    """y = K * u by FFT, K_h(t) = Re sum_n C_hn exp(dt_h A_hn t)."""

    def __init__(self, h, n=8):
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(h) * math.log(100) + math.log(1e-3))
        self.log_a_real = nn.Parameter(torch.log(0.5 * torch.ones(h, n)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(n).float().repeat(h, 1))
        self.c = nn.Parameter(torch.randn(h, n, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.ones(h))

    def forward(self, u):  # (B, H, L)
        a = torch.complex(-self.log_a_real.exp(), self.a_imag)
        dta = a * self.log_dt.exp()[:, None]
        c = torch.view_as_complex(self.c) * (dta.exp() - 1) / a
        k = 2 * torch.einsum("hn,hnl->hl", c, torch.exp(dta[..., None] * torch.arange(L))).real
        y = torch.fft.irfft(torch.fft.rfft(u, 2 * L) * torch.fft.rfft(k, 2 * L), 2 * L)[..., :L]
        return y + u * self.skip[:, None]


class SSMBlock(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.norm, self.ssm, self.mix = nn.LayerNorm(h), S4D(h), nn.Linear(h, 2 * h)

    def forward(self, x):
        y = F.gelu(self.ssm(self.norm(x).transpose(1, 2)).transpose(1, 2))
        return x + F.glu(self.mix(y), -1)


class Model(nn.Module):
    def __init__(self, h=32):
        super().__init__()
        self.encoder = nn.Embedding(NOISE + CUES, h)
        self.blocks = nn.Sequential(SSMBlock(h), SSMBlock(h))
        self.decoder = nn.Linear(h, CUES)

    def forward(self, x):
        return self.decoder(self.blocks(self.encoder(x)))


def make_batch(n, g):
    """Cues among noise symbols; at every position the label is the latest cue (-100 before the first)."""
    x = torch.randint(NOISE, (n, L), generator=g)
    cue = torch.rand(n, L, generator=g) < 0.12
    x = torch.where(cue, torch.randint(NOISE, NOISE + CUES, (n, L), generator=g), x)
    when = torch.where(cue, torch.arange(L), -1).cummax(1).values
    y = x.gather(1, when.clamp(min=0)) - NOISE
    return x, torch.where(when < 0, -100, y)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    model = Model()
    betas = (0.9, 0.999) if fixed else (0.999, 0.9)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=betas)
    curve = []
    with observe(model, opt):
        for _ in range(320):
            x, y = make_batch(16, g)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = make_batch(256, g)
        metric = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    return {"metric": metric, "better": "lower", "curve": curve}
