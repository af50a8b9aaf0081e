"""A stack of linear recurrent units (diagonal complex state space, computed by FFT) has to name the symbol that stood at
the beginning of a long distracting sequence. The eigenvalues are drawn in the ring 0.1 to 0.6 of the unit disk, so state
and gradient vanish over a few dozen steps."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_lru_recall"
TRUTH = {
    "mechanisms": ["depth_attenuation", "initialization_too_small"],
    "layers": ["blocks.0.lru", "blocks.1.lru"],
    "onset": 0,
}

T, VOCAB, CUES = 128, 12, 8


class LRU(nn.Module):
    def __init__(self, d, n, r_min, r_max):
        super().__init__()
        u = torch.rand(n)
        mod2 = u * (r_max**2 - r_min**2) + r_min**2
        self.nu_log = nn.Parameter(torch.log(-0.5 * torch.log(mod2)))
        self.theta_log = nn.Parameter(torch.log(torch.rand(n) * math.pi / 8 + 1e-3))
        self.B = nn.Parameter(torch.randn(n, d, 2) / math.sqrt(2 * d))
        self.C = nn.Parameter(torch.randn(d, n, 2) / math.sqrt(n))
        self.D = nn.Parameter(torch.randn(d))

    def forward(self, u):  # B, T, d
        nu, theta = self.nu_log.exp(), self.theta_log.exp()
        steps = torch.arange(u.size(1), dtype=u.dtype)
        kern = torch.exp(torch.complex(-nu[:, None] * steps, theta[:, None] * steps))  # n, T
        gamma = torch.sqrt(1 - torch.exp(-2 * nu))
        Bu = (
            torch.einsum("nd,btd->bnt", torch.view_as_complex(self.B), u.to(torch.complex64))
            * gamma[:, None]
        )
        n_fft = 2 * u.size(1)
        h = torch.fft.ifft(torch.fft.fft(Bu, n_fft) * torch.fft.fft(kern, n_fft))[..., : u.size(1)]
        y = torch.einsum("dn,bnt->btd", torch.view_as_complex(self.C), h).real
        return y + self.D * u


class Block(nn.Module):
    def __init__(self, d, n, ring):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.lru = LRU(d, n, *ring)
        self.glu = nn.Linear(d, 2 * d)

    def forward(self, x):
        y = F.gelu(self.lru(self.norm(x)))
        return x + F.glu(self.glu(y), -1)


class Recall(nn.Module):
    def __init__(self, ring, d=24, n=24):
        super().__init__()
        self.emb = nn.Embedding(VOCAB, d)
        self.blocks = nn.ModuleList([Block(d, n, ring) for _ in range(2)])
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, CUES))

    def forward(self, tok):
        x = self.emb(tok)
        for b in self.blocks:
            x = b(x)
        return self.head(x[:, -1])


def sample(n, g):
    cue = torch.randint(CUES, (n,), generator=g)
    noise = torch.randint(CUES, VOCAB, (n, T), generator=g)
    noise[:, :3] = cue[:, None]
    return noise, cue


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    ring = (0.95, 0.999) if fixed else (0.1, 0.6)
    model = Recall(ring)
    slow, rest = [], []
    for name, p in model.named_parameters():
        (slow if "nu_log" in name or "theta_log" in name else rest).append(p)
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.01}, {"params": slow, "weight_decay": 0.0}], lr=3e-3
    )
    curve = []
    with observe(model, optimizer):
        for it in range(260):
            tok, cue = sample(32, g)
            loss = F.cross_entropy(model(tok), cue)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        tok, cue = sample(500, g)
        acc = (model(tok).argmax(-1) == cue).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
