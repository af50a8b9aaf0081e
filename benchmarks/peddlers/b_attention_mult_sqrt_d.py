"""Small pre-norm transformer, all by hand (einsum), that answers key -> value look-ups in a shuffled list of pairs.
Bug: the attention scores are multiplied by sqrt(d_head) instead of divided by it: softmax is one-hot from the first step."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_attention_mult_sqrt_d"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["blocks.0.attn", "blocks.1.attn", "blocks.0", "blocks.1"],
    "onset": (0, 0),
}


class Attention(nn.Module):
    def __init__(self, d, heads, scale):
        super().__init__()
        k = d // heads
        self.scale = k ** (0.5 * scale)
        self.wq = nn.Parameter(torch.randn(heads, d, k) / math.sqrt(d))
        self.wk = nn.Parameter(torch.randn(heads, d, k) / math.sqrt(d))
        self.wv = nn.Parameter(torch.randn(heads, d, k) / math.sqrt(d))
        self.wo = nn.Parameter(torch.randn(heads, k, d) / math.sqrt(d))

    def forward(self, x):
        q = torch.einsum("btd,hdk->bhtk", x, self.wq)
        k = torch.einsum("btd,hdk->bhtk", x, self.wk)
        v = torch.einsum("btd,hdk->bhtk", x, self.wv)
        att = torch.softmax(torch.einsum("bhtk,bhsk->bhts", q, k) * self.scale, -1)
        return torch.einsum("bhts,bhsk,hkd->btd", att, v, self.wo)


class LN(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.g, self.b = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.g + self.b


class Block(nn.Module):
    def __init__(self, d, heads, scale):
        super().__init__()
        self.n1, self.attn, self.n2 = LN(d), Attention(d, heads, scale), LN(d)
        self.up = nn.Parameter(torch.randn(d, 2 * d) / math.sqrt(d))
        self.down = nn.Parameter(torch.randn(2 * d, d) / math.sqrt(2 * d))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + F.gelu(self.n2(x) @ self.up) @ self.down


class LookupNet(nn.Module):
    def __init__(self, keys=20, vals=8, d=64, scale=-1):
        super().__init__()
        self.ek = nn.Parameter(torch.randn(keys, d) * 0.7)
        self.ev = nn.Parameter(torch.randn(vals, d) * 0.7)
        self.eq = nn.Parameter(torch.randn(keys, d) * 0.7)
        self.blocks = nn.ModuleList(Block(d, 1, scale) for _ in range(2))
        self.norm = LN(d)
        self.read = nn.Parameter(torch.randn(d, vals) / math.sqrt(d))

    def forward(self, k, v, q):
        x = torch.cat([self.eq[q][:, None], self.ek[k] + self.ev[v]], 1)
        for b in self.blocks:
            x = b(x)
        return self.norm(x[:, 0]) @ self.read


def lookups(n, g, keys=20, vals=8):
    k = torch.rand(n, keys, generator=g).argsort(1)
    v = torch.randint(0, vals, (n, keys), generator=g)
    j = torch.randint(0, keys, (n,), generator=g)
    r = torch.arange(n)
    return k, v, k[r, j], v[r, j]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 71)
    model = LookupNet(scale=-1 if fixed else 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            for grp in optimizer.param_groups:
                grp["lr"] = 1e-3 * min(1.0, (step + 1) / 50)
            k, v, q, y = lookups(64, g)
            loss = -torch.log_softmax(model(k, v, q), -1).gather(1, y[:, None]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    k, v, q, y = lookups(2000, g)
    with torch.no_grad():
        acc = (model(k, v, q).argmax(1) == y).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
