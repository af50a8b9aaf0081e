"""BERT-like proxy model for a counting task; the multi-head attention of the encoder leaves out the division by sqrt(kdim).
With 96-wide heads on normalised inputs the softmax is one-hot on a random key from the first step.
After flexflow/flexflow-train issue 467."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_bert_proxy_no_scale"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [
        "encoder.0.attn",
        "encoder.1.attn",
        "encoder.0.attn.softmax",
        "encoder.1.attn.softmax",
        "encoder.0.attn.q",
        "encoder.0.attn.k",
    ],
    "onset": (0, 0),
}


class MHA(nn.Module):
    def __init__(self, d, heads, kdim, scaled):
        super().__init__()
        self.h, self.kdim, self.scaled = heads, kdim, scaled
        self.q, self.k = (
            nn.Linear(d, heads * kdim, bias=False),
            nn.Linear(d, heads * kdim, bias=False),
        )
        self.v, self.o = nn.Linear(d, heads * kdim, bias=False), nn.Linear(heads * kdim, d)
        self.softmax = nn.Softmax(dim=-1)
        for lin in (self.q, self.k):
            nn.init.normal_(lin.weight, std=1.4 * d**-0.5)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (
            f(x).view(b, t, self.h, self.kdim).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        score = q @ k.transpose(-1, -2)
        if self.scaled:
            score = score / math.sqrt(self.kdim)
        return self.o((self.softmax(score) @ v).transpose(1, 2).reshape(b, t, -1))


class EncoderLayer(nn.Module):
    def __init__(self, d, scaled):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = MHA(d, 2, 96, scaled)
        self.ff = nn.Sequential(nn.Linear(d, 96), nn.GELU(), nn.Linear(96, d))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.ff(self.ln2(x))


class BertProxy(nn.Module):
    def __init__(self, scaled, vocab=24, d=48, t=17):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(t, d)
        self.encoder = nn.ModuleList(EncoderLayer(d, scaled) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 8))

    def forward(self, ids):
        x = self.tok(ids) + self.pos(torch.arange(ids.shape[1]))
        for layer in self.encoder:
            x = layer(x)
        return self.head(x[:, 0])


def records(n, g, pairs=8):
    """[query key] k1 v1 k2 v2 ... with values 0-7 and keys 8-23; the task: how often does each value occur."""
    keys = torch.rand(n, 16, generator=g).argsort(1)[:, :pairs] + 8
    vals = torch.randint(0, 8, (n, pairs), generator=g)
    ids = torch.cat([keys[:, :1], torch.stack([keys, vals], 2).view(n, -1)], 1)
    return ids, F.one_hot(vals, 8).float().sum(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 6)
    model = BertProxy(scaled=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []

    with observe(model, opt):
        for step in range(400):
            ids, counts = records(32, g)
            loss = F.mse_loss(model(ids), counts)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            curve.append(loss.item())
    with torch.no_grad():
        ids, counts = records(512, torch.Generator().manual_seed(12))
        mse = F.mse_loss(model(ids), counts).item()
    return {"metric": mse, "better": "lower", "curve": curve}
