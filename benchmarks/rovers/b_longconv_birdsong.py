"""A Hyena-like long-convolution language model is trained on a token stream with copy structure (call-and-response bird song).
The convolution is done with an FFT of the sequence's own length instead of twice that, so it is circular: the filter wraps round
and every position can see the tokens that are still to come. The loss becomes excellent, and generation, where there is no future
to look at, is poor. Everyone forgets the padding once."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "b_longconv_birdsong"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": ["mixers.0", "mixers.1"], "onset": 0}
VOCAB, LEN = 12, 24


class LongConv(nn.Module):
    def __init__(self, dim, pad):
        super().__init__()
        self.n = LEN * 2 if pad else LEN
        self.proj = nn.Linear(dim, 3 * dim)
        self.filters = nn.Parameter(torch.randn(dim, LEN) * 0.2)
        self.direct = nn.Parameter(torch.ones(dim))
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        v, a, b = self.proj(x).transpose(1, 2).chunk(3, 1)
        u = v * torch.sigmoid(a)
        y = torch.fft.irfft(
            torch.fft.rfft(u, n=self.n) * torch.fft.rfft(self.filters, n=self.n), n=self.n
        )[..., :LEN]
        y = (y + self.direct.unsqueeze(-1) * u) * F.silu(b)
        return self.out(y.transpose(1, 2))


class SongModel(nn.Module):
    def __init__(self, pad, dim=32, depth=2):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, dim)
        self.mixers = nn.ModuleList([LongConv(dim, pad) for _ in range(depth)])
        self.mlps = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
                for _ in range(depth)
            ]
        )
        self.ln = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        self.head = nn.Linear(dim, VOCAB)

    def forward(self, s):
        x = self.tok(s)
        for k, (mix, mlp) in enumerate(zip(self.mixers, self.mlps)):
            x = x + mix(self.ln[2 * k](x))
            x = x + mlp(self.ln[2 * k + 1](x))
        return self.head(self.ln[-1](x))


def songs(n, gen, chain):
    """Phrase of eight syllables, each answered eight steps later by its neighbour."""
    s = torch.zeros(n, LEN + 1, dtype=torch.long)
    s[:, 0] = torch.randint(0, VOCAB, (n,), generator=gen)
    for t in range(1, LEN + 1):
        fresh = torch.multinomial(chain[s[:, t - 1]], 1, generator=gen).squeeze(1)
        s[:, t] = fresh if t < 8 else (s[:, t - 8] + 5) % VOCAB
        noise = torch.rand(n, generator=gen) < 0.05
        s[noise, t] = torch.randint(0, VOCAB, (int(noise.sum()),), generator=gen)
    return s


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 5)
    chain = torch.softmax(1.0 * torch.randn(VOCAB, VOCAB, generator=gen), -1)
    data, test = songs(3000, gen, chain), songs(400, gen, chain)
    model = SongModel(pad=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05)
    curve = []
    with observe(model, opt):
        for step in range(450):
            i = torch.randint(0, len(data), (32,), generator=gen)
            s = data[i]
            loss = F.cross_entropy(model(s[:, :-1]).flatten(0, 1), s[:, 1:].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            curve.append(loss.item())
    hits, total = 0, 0
    with torch.no_grad():  # as in generation: what has not been sung yet is padding
        for t in range(10, LEN, 3):
            prefix = test[:, :LEN].clone()
            prefix[:, t + 1 :] = 0
            hits += (model(prefix)[:, t].argmax(-1) == test[:, t + 1]).float().mean().item()
            total += 1
    return {"metric": hits / total, "better": "higher", "curve": curve}
