"""Sentence classifier with self-attention. jadore801120/attention-is-all-you-need-pytorch issue 5: masked scores are set to -inf before
the softmax, and a sentence that consists of padding only gives a row of -inf alone: softmax of it is NaN. One crawled batch
in the second epoch holds such an empty sentence."""

import math
import torch, torch.nn as nn, torch.nn.functional as F

ID = "a_attention_empty_row"
BAD_STEP = 260
TRUTH = {
    "mechanisms": ["numerical_singularity"],
    "layers": ["layer_stack.0.slf_attn", "layer_stack.0.slf_attn.attention"],
    "onset": (BAD_STEP, BAD_STEP),
}
PAD = 0


class ScaledDotProductAttention(nn.Module):
    def __init__(self, fill):
        super().__init__()
        self.fill = fill

    def forward(self, q, k, v, mask):
        attn = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
        return torch.softmax(attn.masked_fill(mask, self.fill), -1) @ v


class MultiHeadAttention(nn.Module):
    def __init__(self, d, heads, fill):
        super().__init__()
        self.h = heads
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.attention = ScaledDotProductAttention(fill)
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, x, mask):
        b, l, d = x.shape
        q, k, v = (
            w(x).view(b, l, self.h, -1).transpose(1, 2) for w in (self.w_qs, self.w_ks, self.w_vs)
        )
        o = self.attention(q, k, v, mask).transpose(1, 2).reshape(b, l, d)
        return self.layer_norm(x + self.fc(o))


class EncoderLayer(nn.Module):
    def __init__(self, d, heads, fill):
        super().__init__()
        self.slf_attn = MultiHeadAttention(d, heads, fill)
        self.pos_ffn = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.norm = nn.LayerNorm(d)

    def forward(self, x, mask):
        x = self.slf_attn(x, mask)
        return self.norm(x + self.pos_ffn(x))


class Encoder(nn.Module):
    def __init__(self, vocab, classes, fill, d=32, maxlen=14):
        super().__init__()
        self.src_word_emb, self.position_enc = (
            nn.Embedding(vocab, d, padding_idx=PAD),
            nn.Embedding(maxlen, d),
        )
        self.layer_stack = nn.ModuleList(EncoderLayer(d, 4, fill) for _ in range(2))
        self.cls = nn.Linear(d, classes)

    def forward(self, seq):
        mask = (seq == PAD)[:, None, None, :]
        x = self.src_word_emb(seq) + self.position_enc.weight[: seq.size(1)]
        for layer in self.layer_stack:
            x = layer(x, mask)
        keep = (seq != PAD).unsqueeze(-1).float()
        return self.cls((x * keep).sum(1) / keep.sum(1).clamp(min=1))


def corpus(n, g, vocab=60, L=14):
    """the class is the word that follows the marker 1"""
    s = torch.randint(6, vocab, (n, L), generator=g)
    length = torch.randint(6, L + 1, (n,), generator=g)
    y = torch.randint(0, 4, (n,), generator=g)
    p = (torch.rand(n, generator=g) * (length - 2)).long()
    r = torch.arange(n)
    noise = 2 + torch.randint(0, 4, (n,), generator=g)
    s[r, (p + 3) % (length - 1)] = noise
    s[r, p] = 1
    s[r, p + 1] = 2 + y
    s[torch.arange(L)[None] >= length[:, None]] = PAD
    return s, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(70 + seed)
    X, Y = corpus(6400, g)
    Xv, Yv = corpus(600, g)
    model = Encoder(60, 4, -1e9 if fixed else float("-inf"))
    opt = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 60))
    batches = [i for _ in range(3) for i in torch.randperm(len(Y)).split(32)]
    curve = []
    with observe(model, opt):
        for step, i in enumerate(batches):
            x = X[i]
            if step == BAD_STEP:
                x = x.clone()
                x[5] = PAD  # the crawler saved an empty line
            loss = F.cross_entropy(model(x), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(Xv).argmax(1) == Yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
