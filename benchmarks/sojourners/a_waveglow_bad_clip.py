"""Affine-coupling flow on short audio chunks. In one batch at step 860 two clips come in at sixteen times the scale of the others (divided by 2048, not 32768); the loss jumps by far and the
model is thrown back to where it began, as in NVIDIA/waveglow issue #38 ("why loss suddenly become the initial value")."""

import math
import torch
import torch.nn as nn

ID = "a_waveglow_bad_clip"
BAD = 860
TRUTH = {"mechanisms": ["corrupted_batch"], "layers": None, "onset": (BAD, BAD)}
T, MAX_WAV = 32, 32768.0


def clip_bank(n, g):
    t = torch.arange(T).float()
    f = torch.tensor([0.05, 0.08, 0.13])[torch.randint(0, 3, (n,), generator=g)][:, None]
    x = torch.sin(2 * math.pi * f * t + 6.28 * torch.rand(n, 1, generator=g)) * (
        0.15 + 0.2 * torch.rand(n, 1, generator=g)
    )
    x = x + 0.3 * x * torch.sin(4 * math.pi * f * t) + 0.03 * torch.randn(n, T, generator=g)
    return (x * MAX_WAV).round().clamp(-32768, 32767)


class WN(nn.Module):
    def __init__(self, d, h=64):
        super().__init__()
        self.start, self.mid, self.end = nn.Linear(d, h), nn.Linear(h, h), nn.Linear(h, 2 * d)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, x):
        h = torch.relu(self.start(x))
        h = torch.relu(self.mid(h)) + h
        return self.end(h).chunk(2, -1)


class Flow(nn.Module):
    def __init__(self, n_flows=6):
        super().__init__()
        self.WN = nn.ModuleList([WN(T // 2) for _ in range(n_flows)])
        self.sigma = 1.0

    def forward(self, x):
        a, b = x[:, ::2], x[:, 1::2]
        logdet = 0.0
        for wn in self.WN:
            s, m = wn(a)
            s = 4 * torch.tanh(s / 4)
            b = torch.exp(s) * b + m
            logdet = logdet + s.sum(-1)
            a, b = b, a
        z = torch.cat([a, b], -1)
        return z, logdet

    def nll(self, x):
        z, ld = self(x)
        return ((z**2).sum(-1) / (2 * self.sigma**2) - ld).mean() / T


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    wav, val = clip_bank(3000, g), clip_bank(500, g) / MAX_WAV
    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    curve = []
    with observe(model, optimizer):
        for step in range(900):
            idx = torch.randint(0, len(wav), (24,))
            audio = wav[idx] / MAX_WAV
            if step == BAD and not fixed:
                audio[3:5] = (
                    wav[idx[3:5]] / 2048.0
                )  # a shard that another tool wrote at another scale
            loss = model.nll(audio)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        v = model.nll(val).item()
    return {"metric": v, "better": "lower", "curve": curve}
