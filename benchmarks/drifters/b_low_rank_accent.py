"""A speech model pretrained on one accent is adapted to another with low-rank adapters. Nearly all weights are frozen and
get no gradient, the second factor starts at exactly zero, and in the first step the first factor has a gradient of exactly
zero. All that is as it should be."""

import torch
from torch import nn
from torch.nn import functional as F

ID = "b_low_rank_accent"
TRUTH = {"mechanisms": [], "layers": None, "onset": None}


class LowRank(nn.Module):
    def __init__(self, base, rank=4, alpha=8.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.down.t()) @ self.up.t()


class Recognizer(nn.Module):
    def __init__(self, bands=20, width=48, phones=12):
        super().__init__()
        self.front = nn.Conv1d(bands, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.mid = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        self.phones = nn.Linear(width, phones)

    def forward(self, x):
        h = self.norm(F.gelu(self.front(x)).transpose(1, 2))
        for layer in self.mid:
            h = h + F.gelu(layer(h))
        return self.phones(h)


def speech(n, gen, formants, warp):
    y = torch.randint(0, 12, (n, 6), generator=gen).repeat_interleave(4, 1)
    band = torch.arange(20.0)
    f = formants[y] * warp[0] + warp[1]
    spec = torch.exp(-(((band - f[..., :1]) / 1.2) ** 2)) + 0.7 * torch.exp(
        -(((band - f[..., 1:]) / 1.2) ** 2)
    )
    return (spec + 0.12 * torch.randn(n, 24, 20, generator=gen)).transpose(1, 2), y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(37 + seed)
    formants = torch.stack([torch.arange(12) % 4 * 2.0 + 2, torch.arange(12) // 4 * 2.5 + 10], -1)
    home, abroad = (1.0, 0.0), (0.85, 2.6)
    model = Recognizer()

    def run(optimizer, steps, accent, curve):
        for _ in range(steps):
            x, y = speech(24, gen, formants, accent)
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    run(torch.optim.Adam(model.parameters(), lr=2e-3), 250, home, [])
    model.requires_grad_(False)
    model.mid = nn.ModuleList(LowRank(layer) for layer in model.mid)
    model.phones = LowRank(model.phones)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0
    )
    curve = []
    with observe(model, optimizer):
        run(optimizer, 400, abroad, curve)
    xv, yv = speech(200, gen, formants, abroad)
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
