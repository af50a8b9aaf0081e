"""An RWKV-like language model (token shift, exponential decay per channel, receptance gate) on key recall over a long context.
The decays are set with `torch.zeros` before the sigmoid, that is to one half for every channel, instead of the spread of long and short
half-lives of the original code; whoever re-implements the block tends to think the training will find them."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_rwkv_recall"
TRUTH = {
    "mechanisms": ["depth_attenuation"],
    "layers": ["blocks.0.mix", "blocks.1.mix"],
    "onset": 0,
}
V, T = 12, 40


class TimeMix(nn.Module):
    def __init__(self, d, spread):
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(0.0, 7.0, d) if spread else torch.zeros(d))
        self.mu = nn.Parameter(torch.full((d,), 0.5))
        self.k = nn.Linear(d, d, bias=False)
        self.r = nn.Linear(d, d, bias=False)
        self.o = nn.Linear(d, d, bias=False)

    def forward(self, x):
        prev = F.pad(x, (0, 0, 1, -1))
        z = self.mu * x + (1 - self.mu) * prev
        v, r = self.k(z), torch.sigmoid(self.r(z))
        w = torch.sigmoid(self.decay)
        s, out = torch.zeros_like(v[:, 0]), []
        for t in range(v.shape[1]):
            s = w * s + v[:, t]
            out.append(s)
        return self.o(r * torch.stack(out, 1))


class Block(nn.Module):
    def __init__(self, d, spread):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mix = TimeMix(d, spread)
        self.ffn = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.mix(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class RWKVish(nn.Module):
    def __init__(self, d=32, spread=False):
        super().__init__()
        self.emb = nn.Embedding(V + 2, d)
        self.blocks = nn.ModuleList(Block(d, spread) for _ in range(2))
        self.ln = nn.LayerNorm(d)
        self.head = nn.Linear(d, V)

    def forward(self, ids):
        h = self.emb(ids)
        for b in self.blocks:
            h = b(h)
        return self.head(self.ln(h[:, -1]))


def batch(n, g):
    ids = torch.full((n, T), V)
    ids[:, 0] = torch.randint(0, V, (n,), generator=g)
    ids[:, 1:-1] = V
    ids[:, -1] = V + 1
    return ids, ids[:, 0].clone()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = RWKVish(spread=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            ids, y = batch(48, g)
            loss = F.cross_entropy(model(ids), y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, y = batch(500, g)
        acc = (model(ids).argmax(-1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
