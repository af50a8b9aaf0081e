"""Text classifier with a hand-written multi-head attention in which masked_fill hides the words instead of the padding (the mask is True for real tokens).
Reported as mlwithme/TransformerTranslation issue #6. Not a mechanism of the list."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_translation_pad_mask"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
V, L, D = 30, 16, 32


def sentences(n, g):
    """label: is the word after the marker (1) in the first or second half of the vocabulary, or is there a negation (2) right before it"""
    x = torch.randint(4, V, (n, L), generator=g)
    n_words = torch.randint(6, 13, (n,), generator=g)
    at = (1 + torch.rand(n, generator=g) * (n_words - 3).float()).long()
    r = torch.arange(n)
    x[r, at] = 1
    neg = torch.rand(n, generator=g) < 0.4
    x[r[neg], at[neg] - 1] = 2
    y = (x[r, at + 1] >= 17).long() + 2 * neg.long()
    x[torch.arange(L)[None] >= n_words[:, None]] = 0
    return x, y


class MyMultiheadAttention(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.h = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, key_padding_mask):
        b, l, d = x.shape
        q, k, v = (
            p(x).view(b, l, self.h, -1).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        w = q @ k.transpose(2, 3) / (d // self.h) ** 0.5
        w = w.masked_fill(key_padding_mask[:, None, None], float("-inf")).softmax(-1)
        return self.out_proj((w @ v).transpose(1, 2).reshape(b, l, d))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = MyMultiheadAttention(D)
        self.ff = nn.Sequential(nn.Linear(D, 64), nn.ReLU(), nn.Linear(64, D))
        self.n1, self.n2 = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, x, m):
        x = self.n1(x + self.self_attn(x, m))
        return self.n2(x + self.ff(x))


class Classifier(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.fixed = fixed
        self.embed, self.pos = nn.Embedding(V, D), nn.Parameter(0.3 * torch.randn(L, D))
        self.layers = nn.ModuleList([Layer() for _ in range(2)])
        self.fc = nn.Linear(D, 4)

    def forward(self, x):
        mask = (x == 0) if self.fixed else (x != 0)
        h = self.embed(x) + self.pos
        for l in self.layers:
            h = l(h, mask)
        keep = (x != 0).float()[..., None]
        return self.fc((h * keep).sum(1) / keep.sum(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, y = sentences(6000, g)
    xt, yt = sentences(800, g)
    model = Classifier(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3, betas=(0.9, 0.98))
    curve = []
    with observe(model, optimizer):
        for epoch in range(10):
            for idx in torch.randperm(6000).split(60):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        nll = F.cross_entropy(model(xt), yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}
