"""A differentiable harmonic synthesizer (DDSP) learns an instrument's timbre from pitch and loudness with a multi-resolution
spectral loss. Weight normalization is put on the linear layers by a helper that runs after the optimizer was made; the new
magnitude and direction parameters replace the old weights, which the optimizer goes on holding, so only the biases learn. The
old ordering was harmless with other helpers (spectral norm of the trained kind, EMA), which keep the parameter objects."""

import math
import torch
from torch import nn
from torch.nn.utils import parametrizations

ID = "b_ddsp_reparam"
TRUTH = {
    "mechanisms": ["parameters_not_updated"],
    "layers": ["pitch", "loud", "body.0", "body.2", "amps"],
    "onset": 0,
}
RATE, HARM, LEN = 4000, 16, 1024


class Timbre(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.pitch = nn.Linear(1, width)
        self.loud = nn.Linear(1, width)
        self.body = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.amps = nn.Linear(width, HARM + 1)

    def forward(self, f0, loud):
        z = torch.cat([torch.tanh(self.pitch((f0 - 220) / 80)), torch.tanh(self.loud(loud))], -1)
        out = self.amps(self.body(z))
        total = 2 * torch.sigmoid(out[:, :1]) ** 2.3 + 1e-7
        return total * torch.softmax(out[:, 1:], -1)


def oscillators(f0, amps):
    k = torch.arange(1, HARM + 1).float()
    freq = f0 * k
    amps = amps * (freq < RATE / 2)
    t = torch.arange(LEN) / RATE
    return torch.einsum("bk,bkt->bt", amps, torch.sin(2 * math.pi * freq.unsqueeze(-1) * t))


def instrument(f0, loud):
    k = torch.arange(1, HARM + 1).float()
    freq = f0 * k
    body = (
        torch.exp(-(((freq - 620) / 150) ** 2))
        + 0.6 * torch.exp(-(((freq - 1300) / 220) ** 2))
        + 0.02
    )
    tilt = k ** (-0.3 - 1.2 * (1 - loud))
    odd = torch.where(k % 2 == 1, torch.ones(()), torch.sigmoid((f0 - 220) / 15))
    a = body * tilt * odd
    return (0.2 + 0.8 * loud) * a / a.sum(-1, keepdim=True)


def spectral(a, b):
    loss = 0.0
    for n in (128, 512):
        win = torch.hann_window(n)
        sa, sb = (torch.stft(s, n, n // 2, window=win, return_complex=True).abs() for s in (a, b))
        loss = (
            loss
            + (sa - sb).abs().mean()
            + 0.5 * (torch.log(sa + 1e-3) - torch.log(sb + 1e-3)).abs().mean()
        )
    return loss


def add_weight_norm(model):
    for m in list(model.modules()):
        if isinstance(m, nn.Linear):
            parametrizations.weight_norm(m)


def notes(n, gen):
    return 110 + 260 * torch.rand(n, 1, generator=gen), torch.rand(n, 1, generator=gen)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 440)
    model = Timbre()

    def make():
        return torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-4)

    if fixed:
        add_weight_norm(model)
        opt = make()
    else:
        opt = make()
        add_weight_norm(model)
    curve = []
    with observe(model, opt):
        for _ in range(450):
            f0, loud = notes(16, gen)
            target = oscillators(f0, instrument(f0, loud))
            loss = spectral(oscillators(f0, model(f0, loud)), target)
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        f0, loud = notes(256, gen)
        metric = spectral(
            oscillators(f0, model(f0, loud)), oscillators(f0, instrument(f0, loud))
        ).item()
    return {"metric": metric, "better": "lower", "curve": curve}
