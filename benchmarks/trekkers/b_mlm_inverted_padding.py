"""BERT-like masked language model on a small periodic language with padding. `src_key_padding_mask` got `ids != PAD` (True where the tokens
are real), so attention may only look at the padding. Masked tokens cannot be inferred from their neighbours."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_mlm_inverted_padding"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
PAD, MASK, V, L = 0, 1, 14, 16


def corpus(n, g):
    start = torch.randint(0, 12, (n, 1), generator=g)
    stride = torch.randint(1, 6, (n, 1), generator=g)
    ids = (start + stride * torch.arange(L)) % 12 + 2
    length = torch.randint(8, L, (n, 1), generator=g)  # at least one pad each
    return ids.masked_fill(torch.arange(L) >= length, PAD)


def mask_tokens(ids, g, p=0.2):
    labels = ids.clone()
    pick = (torch.rand(ids.shape, generator=g) < p) & (ids != PAD)
    labels[~pick] = -100
    return ids.masked_fill(pick, MASK), labels


class MLM(nn.Module):
    def __init__(self, d=48, inverted=True):
        super().__init__()
        self.inverted = inverted
        self.tok, self.pos = nn.Embedding(V, d, padding_idx=PAD), nn.Embedding(L, d)
        layer = nn.TransformerEncoderLayer(
            d, 4, 96, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.ln, self.bias = nn.LayerNorm(d), nn.Parameter(torch.zeros(V))
        nn.init.normal_(self.tok.weight, std=0.3)
        nn.init.normal_(self.pos.weight, std=0.3)

    def forward(self, ids):
        m = ids != PAD if self.inverted else ids == PAD
        h = self.encoder(self.tok(ids) + self.pos.weight, src_key_padding_mask=m)
        return F.linear(self.ln(h), self.tok.weight, self.bias)


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 19)
    model = MLM(inverted=not fixed)
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=2e-3
    )
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.05, 1.0, 60)
    curve, accum = [], 2
    with observe(model, opt):
        for step in range(600):
            opt.zero_grad()
            total = 0.0
            for _ in range(accum):
                ids, labels = mask_tokens(corpus(24, g), g)
                loss = (
                    F.cross_entropy(model(ids).flatten(0, 1), labels.flatten(), ignore_index=-100)
                    / accum
                )
                loss.backward()
                total += loss.item()
            opt.step()
            warm.step()
            curve.append(total)
    ids, labels = mask_tokens(corpus(600, g), g)
    with torch.no_grad():
        p = model(ids).argmax(-1)
    ok = labels != -100
    return {
        "metric": (p[ok] == labels[ok]).float().mean().item(),
        "better": "higher",
        "curve": curve,
    }
