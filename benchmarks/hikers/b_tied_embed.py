"""Small gated language model with tied input and output embeddings. After tying, the table keeps nn.Embedding's own N(0, 1) instead of std 0.02-0.1:
logits have a spread of sqrt(d) and the first loss is many times ln V."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_tied_embed"
TRUTH = {
    "mechanisms": ["initialization_too_large"],
    "layers": ["embed", "lm_head"],
    "onset": (0, 0),
}


class CausalMix(nn.Module):
    """gated causal depthwise mixing of the last 4 tokens"""

    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.inp = nn.Linear(d, 2 * d)
        self.dw = nn.Conv1d(d, d, 4, groups=d)
        self.out = nn.Linear(d, d)

    def forward(self, x):
        u, z = self.inp(self.norm(x)).chunk(2, -1)
        u = self.dw(F.pad(u.transpose(1, 2), (3, 0))).transpose(1, 2)
        return x + self.out(u * F.silu(z))


class LM(nn.Module):
    def __init__(self, V, d=64, std=None):
        super().__init__()
        self.embed = nn.Embedding(V, d)
        self.blocks = nn.ModuleList(CausalMix(d) for _ in range(2))
        self.norm = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, V, bias=False)
        self.lm_head.weight = self.embed.weight
        if std:
            nn.init.normal_(self.embed.weight, std=std)

    def forward(self, s):
        x = self.embed(s)
        for b in self.blocks:
            x = b(x)
        return self.lm_head(self.norm(x))


def corpus(n, g, V=100):
    nxt = torch.randint(0, V, (V, 3), generator=torch.Generator().manual_seed(5))
    s = [int(torch.randint(0, V, (), generator=g))]
    r = torch.randint(0, 3, (n,), generator=g).tolist()
    tab = nxt.tolist()
    for k in range(n - 1):
        s.append(tab[s[-1]][r[k]])
    return torch.tensor(s)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 80)
    data = corpus(30000, g)
    val = corpus(3000, g)
    model = LM(100, std=0.05 if fixed else None)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    steps = 220
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 30) * (0.1 + 0.45 * (1 + math.cos(math.pi * s / steps)))
    )
    curve = []
    with observe(model, opt):
        for step in range(steps):
            o = torch.randint(0, len(data) - 33, (12,))
            b = torch.stack([data[k : k + 33] for k in o])
            loss = F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten())
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        ce = F.cross_entropy(model(val[None, :-1])[0], val[1:]).item()
    return {"metric": ce, "better": "lower", "curve": curve}
