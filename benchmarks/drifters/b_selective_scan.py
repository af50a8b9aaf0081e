"""A small diagonal state-space model must say at the end of a sequence which symbol opened it. The bias of the step size is
filled with small values but goes through a softplus, so the step is about 0.7 instead of 0.01 and the state forgets within
a few samples. Ports of such models forget the inverse softplus again and again."""

import math
import torch
from torch import nn
from torch.nn import functional as F

ID = "b_selective_scan"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["layers", "layers.0", "layers.1", "layers.0.scan", "layers.1.scan"],
    "onset": 0,
}


class Scan(nn.Module):
    def __init__(self, width, states, invert):
        super().__init__()
        dt = torch.exp(torch.rand(width) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)) if invert else dt)
        self.log_a = nn.Parameter(torch.log(torch.arange(1, states + 1.0)).repeat(width, 1))
        self.b = nn.Parameter(torch.ones(width, states))
        self.c = nn.Parameter(torch.randn(width, states) / states**0.5)
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, u):  # (batch, length, width)
        length = u.shape[1]
        dt = F.softplus(self.dt_bias)[:, None]
        a = -self.log_a.exp()
        gain = (torch.exp(dt * a) - 1) / a * self.b * self.c
        lag = torch.arange(length)
        kernel = torch.einsum("wn,wnl->wl", gain, torch.exp((dt * a)[..., None] * lag))
        spec = torch.fft.rfft(u.transpose(1, 2), 2 * length) * torch.fft.rfft(kernel, 2 * length)
        y = torch.fft.irfft(spec, 2 * length)[..., :length].transpose(1, 2)
        return y / (dt.squeeze(-1) ** 0.5) + self.skip * u


class Layer(nn.Module):
    def __init__(self, width, states, invert):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scan = Scan(width, states, invert)
        self.mix = nn.Linear(width, 2 * width)

    def forward(self, h):
        return h + F.glu(self.mix(F.gelu(self.scan(self.norm(h)))), -1)


class Model(nn.Module):
    def __init__(self, vocab, width=32, states=4, invert=False):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.Sequential(*[Layer(width, states, invert) for _ in range(2)])
        self.head = nn.Linear(width, 8)

    def forward(self, x):
        return self.head(self.layers(self.embed(x))[:, -1])


def strings(n, length, gen):
    x = torch.randint(8, 16, (n, length), generator=gen)
    y = torch.randint(0, 8, (n,), generator=gen)
    x[:, :3] = y[:, None]
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(17 + seed)
    xv, yv = strings(600, 96, gen)
    model = Model(16, invert=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)
    curve = []
    with observe(model, optimizer):
        for step in range(350):
            x, y = strings(32, 96, gen)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
