"""BERT-like MLM on padded sentences; the additive mask is mask * -1e4 instead of (1 - mask) * -1e4, so words can attend to the padding only."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "mlm-extended-mask-inverted"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": [], "onset": (0, 1)}
PAD, MASK, WORDS, MAX_LEN = 0, 1, 24, 18
VOCAB = WORDS + 2


class BertSelfAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.dense = nn.Linear(d, d)

    def forward(self, x, extended_mask):
        B, T, D = x.shape
        split = lambda z: z.view(B, T, self.heads, -1).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(D // self.heads) + extended_mask
        return self.dense((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D))


class BertLayer(nn.Module):
    def __init__(self, d=48, heads=4):
        super().__init__()
        self.attention = BertSelfAttention(d, heads)
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ffn = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, m):
        x = self.ln1(x + self.attention(x, m))
        return self.ln2(x + self.ffn(x))


class Bert(nn.Module):
    def __init__(self, fixed, d=48):
        super().__init__()
        self.fixed = fixed
        self.word, self.position = nn.Embedding(VOCAB, d, padding_idx=PAD), nn.Embedding(MAX_LEN, d)
        self.ln = nn.LayerNorm(d)
        self.layers = nn.ModuleList([BertLayer(d), BertLayer(d)])
        self.cls = nn.Linear(d, VOCAB)

    def forward(self, input_ids, attention_mask):
        m = attention_mask[:, None, None, :].float()
        m = (1.0 - m) * -10000.0 if self.fixed else m * -10000.0
        h = self.ln(self.word(input_ids) + self.position.weight[: input_ids.shape[1]])
        for layer in self.layers:
            h = layer(h, m)
        return self.cls(h)


def sentences(n, nxt, g):
    x = torch.randint(2, VOCAB, (n, 1), generator=g)
    while x.shape[1] < MAX_LEN:  # the next word is usually given by the last
        rare = torch.rand(n, generator=g) < 0.1
        w = torch.where(rare, torch.randint(2, VOCAB, (n,), generator=g), nxt[x[:, -1]])
        x = torch.cat([x, w[:, None]], 1)
    lengths = torch.randint(8, MAX_LEN + 1, (n, 1), generator=g)
    attention_mask = (torch.arange(MAX_LEN) < lengths).long()
    x = x * attention_mask
    chosen = (torch.rand(x.shape, generator=g) < 0.15) & (attention_mask == 1)
    labels = torch.where(chosen, x, -100)
    return x.masked_fill(chosen, MASK), attention_mask, labels


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    nxt = torch.cat([torch.zeros(2).long(), 2 + torch.randperm(WORDS, generator=g)])
    model = Bert(fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 30))

    def mlm_loss(n):
        ids, mask, labels = sentences(n, nxt, g)
        return F.cross_entropy(model(ids, mask).transpose(1, 2), labels, ignore_index=-100)

    curve = []
    with observe(model, opt):
        for step in range(380):
            loss = mlm_loss(48)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            warmup.step()
            curve.append(loss.item())
    with torch.no_grad():
        metric = mlm_loss(512).item()
    return {"metric": metric, "better": "lower", "curve": curve}
