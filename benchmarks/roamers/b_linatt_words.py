"""A bidirectional linear-attention model (elu + 1 features) classifies spoken words that differ only in the order of the same four phonemes.
It was made from a causal one, which sees order through its cumulative sums; without them and without a position code the model is
a function of the set of frames and cannot tell the words apart, so it stays at chance whatever the optimizer does."""

import itertools
import torch
from torch import nn
import torch.nn.functional as F

ID = "b_linatt_words"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}


class LinearAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.h = heads
        self.norm = nn.LayerNorm(d)
        self.in_proj = nn.Parameter(torch.randn(3 * d, d) / d**0.5)
        self.out_proj = nn.Parameter(torch.randn(d, d) / d**0.5)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = F.linear(self.norm(x), self.in_proj).view(B, T, 3, self.h, D // self.h).unbind(2)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        kv = torch.einsum("bthd,bthe->bhde", k, v)
        z = torch.einsum("bthd,bhd->bth", q, k.sum(1)).unsqueeze(-1)
        y = torch.einsum("bthd,bhde->bthe", q, kv) / z
        return x + F.linear(y.reshape(B, T, D), self.out_proj)


class Gated(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.a, self.b, self.c = (nn.Parameter(torch.randn(d, d) / d**0.5) for _ in range(3))

    def forward(self, x):
        h = self.norm(x)
        return x + F.linear(F.silu(F.linear(h, self.a)) * F.linear(h, self.b), self.c)


class WordNet(nn.Module):
    def __init__(self, feats, classes, d=32, ordered=False):
        super().__init__()
        self.inp = nn.Parameter(torch.randn(d, feats) / feats**0.5)
        self.when = nn.Parameter(torch.randn(32, d) * 0.5) if ordered else None
        self.blocks = nn.Sequential(
            LinearAttention(d, 4), Gated(d), LinearAttention(d, 4), Gated(d)
        )
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, classes))

    def forward(self, frames):
        x = F.linear(frames, self.inp)
        if self.when is not None:
            x = x + self.when
        return self.out(self.blocks(x).mean(1))


ORDERS = torch.tensor(list(itertools.permutations(range(4)))[::2])  # twelve words


def words(n, gen, phonemes):
    y = torch.randint(0, len(ORDERS), (n,), generator=gen)
    extra = F.one_hot(torch.randint(0, 4, (n, 8), generator=gen), 4).sum(1)
    ends = (6 + extra).cumsum(1)  # phonemes of unequal length
    part = (torch.arange(32)[None, :, None] >= ends[:, None, :3]).sum(-1)
    seq = ORDERS[y].gather(1, part)
    x = phonemes[seq] + 0.7 * torch.randn(n, 32, phonemes.shape[-1], generator=gen)
    return x, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    phonemes = torch.randn(4, 12, generator=gen)
    x, y = words(6000, gen, phonemes)
    xt, yt = words(600, gen, phonemes)
    net = WordNet(12, len(ORDERS), ordered=fixed)
    opt = torch.optim.NAdam(net.parameters(), lr=2e-3)
    curve = []
    with observe(net, opt):
        for step in range(320):
            i = torch.randint(0, len(x), (48,), generator=gen)
            loss = F.cross_entropy(net(x[i]), y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (net(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
