"""Text classifier with label attention over tokens. The boolean mask handed to scaled_dot_product_attention is inverted
(True means "take part" there), so labels look at the padding only: InseeFrLab/torchTextClassifiers pull 92."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_label_attention_mask"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": None}
PAD, VOCAB, L = 0, 60, 14


class LabelAttention(nn.Module):
    def __init__(self, dim, n_labels, fixed):
        super().__init__()
        self.label_embeds = nn.Embedding(n_labels, dim)
        self.c_kv = nn.Linear(dim, 2 * dim)
        self.fixed = fixed

    def forward(self, tok, attention_mask):
        k, v = self.c_kv(tok).chunk(2, -1)
        q = self.label_embeds.weight[None].expand(len(tok), -1, -1)
        mask = attention_mask.bool() if self.fixed else ~attention_mask.bool()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :])


class TextClassifier(nn.Module):
    def __init__(self, fixed, n_labels=6, dim=32):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, dim, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(L, dim))
        self.norm = nn.LayerNorm(dim)
        self.label_attention = LabelAttention(dim, n_labels, fixed)
        self.head = nn.Linear(dim, 1)

    def forward(self, ids):
        x = self.norm(self.embedding(ids) + self.position)
        return self.head(self.label_attention(x, ids != PAD)).squeeze(-1)


def sentences(n, g):
    y = torch.randint(0, 6, (n,), generator=g)
    ids = torch.randint(19, VOCAB, (n, L), generator=g)
    length = torch.randint(5, L - 1, (n,), generator=g)
    for i in range(n):
        k = 2 if length[i] > 6 else 1
        pos = torch.randperm(int(length[i]), generator=g)[:k]
        ids[i, pos] = 1 + 3 * y[i] + torch.randint(0, 3, (k,), generator=g)
        ids[i, length[i] :] = PAD
    return ids, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    ids, y = sentences(2000, g)
    vids, vy = sentences(500, g)
    model = TextClassifier(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(24):
            for idx in torch.randperm(2000).split(50):
                loss = F.cross_entropy(model(ids[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(vids).argmax(1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
