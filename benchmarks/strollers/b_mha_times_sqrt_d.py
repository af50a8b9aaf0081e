"""Transformer written from scratch for an associative recall task (key value key value ... query). The scores are multiplied by sqrt(d_k) instead
of divided: softmax is one-hot from the start."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_mha_times_sqrt_d"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": ["layers.0.attn", "layers.0.attn.wq", "layers.0.attn.wk", "layers.0.attn.softmax"],
    "onset": (0, 0),
}


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, heads, fixed):
        super().__init__()
        self.h, self.dk, self.fixed = heads, d_model // heads, fixed
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model) for _ in range(4))
        self.softmax = nn.Softmax(dim=-1)

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.h, self.dk).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.wq(x)), self.split(self.wk(x)), self.split(self.wv(x))
        scores = q @ k.transpose(-2, -1)
        scores = scores / math.sqrt(self.dk) if self.fixed else scores * math.sqrt(self.dk)
        att = self.softmax(scores)
        return self.wo((att @ v).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    def __init__(self, d, heads, fixed):
        super().__init__()
        self.attn = MultiHeadAttention(d, heads, fixed)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.ff(self.n2(x))


class RecallNet(nn.Module):
    def __init__(self, n_sym=16, pairs=8, d=128, fixed=False):
        super().__init__()
        self.key, self.val = nn.Embedding(n_sym + 1, d), nn.Embedding(n_sym + 1, d)
        self.layers = nn.ModuleList([EncoderLayer(d, 1, fixed) for _ in range(1)])
        self.out = nn.Linear(d, n_sym)
        for p in self.layers.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, keys, vals):
        x = self.key(keys) + self.val(vals)
        for layer in self.layers:
            x = layer(x)
        return self.out(x[:, -1])


def batch(n, n_sym=16, pairs=8):
    keys = torch.rand(n, n_sym).argsort(1)[:, :pairs]
    vals = torch.randint(0, n_sym, (n, pairs))
    pick = torch.randint(0, pairs, (n, 1))
    k = torch.cat([keys, keys.gather(1, pick)], 1)
    v = torch.cat([vals, torch.full((n, 1), n_sym)], 1)  # the value of the query is the blank
    return k, v, vals.gather(1, pick).squeeze(1)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = RecallNet(fixed=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98))
    sched = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 50))
    curve = []
    with observe(model, optimizer):
        for step in range(300):
            k, v, y = batch(96)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(k, v), y)
            loss.backward()
            optimizer.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        k, v, y = batch(2000)
        ce = F.cross_entropy(model(k, v), y).item()
    return {"metric": ce, "better": "lower", "curve": curve}
