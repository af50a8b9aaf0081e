"""An RWKV-like model (token shift, learned exponential decay, receptance gates) classifies heartbeats that come as raw ADC counts.
The scale-free RMS norm at the entrance should make the unit irrelevant, but it is computed in half precision where the squares of counts
beyond 255 are infinite: its reciprocal root is zero, so most beats reach the blocks as zeros without any NaN being seen."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_rwkv_heartbeat"
TRUTH = {"mechanisms": ["half_precision_overflow"], "layers": ["front"], "onset": 0}


class RMSFront(nn.Module):
    """normalise every window by its own power, then cut it into tokens; runs in half like the rest of the front end"""

    def __init__(self, patch, dim, wide):
        super().__init__()
        self.patch, self.wide = patch, wide
        self.scale = nn.Parameter(torch.ones(1))
        self.weight = nn.Parameter(torch.randn(dim, patch) / patch**0.5)

    def forward(self, counts):
        x = counts.half()
        p = x.float() if self.wide else x
        inv = torch.rsqrt(p.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = (p * inv).to(x.dtype) * self.scale.half()
        tokens = x.unflatten(-1, (-1, self.patch))
        return F.linear(tokens, self.weight.half()).float()


class TimeMix(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mu = nn.Parameter(torch.full((3, dim), 0.5))
        self.w_kvr = nn.Parameter(torch.randn(3, dim, dim) / dim**0.5)
        self.w_out = nn.Parameter(torch.randn(dim, dim) * 0.5 / dim**0.5)
        self.decay = nn.Parameter(torch.linspace(-4.0, 0.5, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        h = self.norm(x)
        prev = F.pad(h, (0, 0, 1, -1))
        mixed = prev + self.mu[:, None, None] * (h - prev)
        k, v, r = torch.einsum("pbtd,ped->pbte", mixed, self.w_kvr)
        w = torch.exp(-torch.exp(self.decay))
        ek = torch.exp(k.clamp(max=8))
        num = den = torch.zeros_like(k[:, 0])
        out = []
        for t in range(x.shape[1]):
            num = w * num + ek[:, t] * v[:, t]
            den = w * den + ek[:, t]
            out.append(num / (den + 1e-6))
        return x + F.linear(torch.sigmoid(r) * torch.stack(out, 1), self.w_out)


class ChannelMix(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Parameter(torch.randn(2 * dim, dim) / dim**0.5)
        self.down = nn.Parameter(torch.randn(dim, 2 * dim) * 0.3 / dim**0.5)

    def forward(self, x):
        return x + F.linear(F.relu(F.linear(self.norm(x), self.up)).square(), self.down)


class BeatNet(nn.Module):
    def __init__(self, dim=32, wide=False):
        super().__init__()
        self.front = RMSFront(8, dim, wide)
        self.body = nn.Sequential(TimeMix(dim), ChannelMix(dim), TimeMix(dim), ChannelMix(dim))
        self.classes = nn.Linear(dim, 5)

    def forward(self, counts):
        return self.classes(self.body(self.front(counts))[:, -4:].mean(1))


def beats(n, gen):
    y = torch.randint(0, 5, (n,), generator=gen)
    t = torch.linspace(0, 1, 96)
    c = 0.4 + 0.2 * torch.rand(n, 1, generator=gen)
    width = torch.tensor([0.02, 0.05, 0.02, 0.02, 0.035])[y][:, None]
    bump = lambda at, w, a: a * torch.exp(-(((t - at) / w) ** 2) / 2)
    x = bump(c, width, 1.0)
    x = (
        x
        - bump(c + 0.08, 0.02, 0.5) * (y == 2).float()[:, None]
        + bump(c - 0.2, 0.03, 0.35) * (y != 3).float()[:, None]
    )
    x = x + bump(c + 0.25, 0.06, 0.3) * (1 - 2 * (y == 4).float()[:, None])
    x = x + 0.06 * torch.randn(n, 96, generator=gen)
    gain = torch.exp(torch.randn(n, 1, generator=gen) * 0.5) * 2200
    return (x * gain).round().clamp(-32000, 32000), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(40 + seed)
    x, y = beats(4000, gen)
    xt, yt = beats(1000, gen)
    model = BeatNet(wide=fixed)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, opt):
        for step in range(350):
            i = torch.randint(0, len(x), (64,), generator=gen)
            loss = F.cross_entropy(model(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
