"""Dictionary look-up with one attention block: ten (key, value) tokens and a query key, answer = its value. The logits are multiplied by
sqrt(d_head) where they should be divided by it (and q, k come from a unit-scale projection): nearly one-hot attention from the first step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_dictionary_lookup_attention"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["block.attn", "block.attn.q", "block.attn.k", "block"],
    "onset": (0, 0),
}
N_KEYS, N_VALS, N_PAIRS = 24, 8, 10


class Attention(nn.Module):
    def __init__(self, d, heads, wrong):
        super().__init__()
        self.h, self.dh = heads, d // heads
        self.scale = self.dh**0.5 if wrong else self.dh**-0.5
        self.q, self.k = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v, self.out = nn.Linear(d, d), nn.Linear(d, d)
        for lin in (self.q, self.k):
            nn.init.xavier_uniform_(lin.weight)

    def split(self, t):
        return t.unflatten(-1, (self.h, self.dh)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        att = (torch.einsum("bhqd,bhkd->bhqk", q, k) * self.scale).softmax(-1)
        return self.out((att @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, d, heads, wrong):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = Attention(d, heads, wrong)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Lookup(nn.Module):
    def __init__(self, d=64, heads=1, wrong=True):
        super().__init__()
        self.key_emb = nn.Embedding(N_KEYS, d)
        self.val_emb = nn.Embedding(N_VALS + 1, d)  # the last one is the question mark
        self.block = Block(d, heads, wrong)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, N_VALS))

    def forward(self, keys, vals):
        return self.head(self.block(self.key_emb(keys) + self.val_emb(vals))[:, -1])


def episodes(n, g):
    keys = torch.rand(n, N_KEYS, generator=g).argsort(1)[:, :N_PAIRS]
    vals = torch.randint(0, N_VALS, (n, N_PAIRS), generator=g)
    which = torch.randint(0, N_PAIRS, (n, 1), generator=g)
    q = keys.gather(1, which)
    ans = vals.gather(1, which).squeeze(1)
    return torch.cat([keys, q], 1), torch.cat([vals, torch.full((n, 1), N_VALS)], 1), ans


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = Lookup(wrong=not fixed)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    total = 600
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1, (s + 1) / 30) * 0.5 * (1 + math.cos(math.pi * s / total))
    )
    curve = []
    with observe(net, opt):
        for step in range(total):
            keys, vals, ans = episodes(64, g)
            loss = F.cross_entropy(net(keys, vals), ans)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        keys, vals, ans = episodes(1500, g)
        acc = (net(keys, vals).argmax(1) == ans).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
