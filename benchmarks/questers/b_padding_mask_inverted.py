"""UNKNOWN: intent classification with nn.MultiheadAttention. key_padding_mask is True where a token is VALID (PyTorch wants True = ignore): attention
looks at the padding only. Wrong mask, no mechanism of the list."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_padding_mask_inverted"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
V, L = 40, 14


class IntentModel(nn.Module):
    def __init__(self, d=48, classes=6, inverted=True):
        super().__init__()
        self.inverted = inverted
        self.tok = nn.Embedding(V, d, padding_idx=0)
        self.pos = nn.Parameter(torch.randn(1, L, d) * 0.1)
        self.query = nn.Parameter(torch.randn(1, 1, d) * 0.5)
        self.self_attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.pool_attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.ff = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)
        )
        self.cls = nn.Linear(d, classes)

    def forward(self, ids):
        mask = ids.ne(0)
        if not self.inverted:
            mask = ~mask
        h = self.tok(ids) + self.pos
        h = h + self.self_attn(h, h, h, key_padding_mask=mask, need_weights=False)[0]
        h = h + self.ff(h)
        q = self.query.expand(len(ids), -1, -1)
        z, _ = self.pool_attn(q, h, h, key_padding_mask=mask, need_weights=False)
        return self.cls(z.squeeze(1))


def utterances(n, g):
    """The class is given by which two of four key words occur; everything else is filler."""
    pairs = torch.tensor([[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]])
    y = torch.randint(0, 6, (n,), generator=g)
    ids = torch.randint(5, V, (n, L), generator=g)
    length = torch.randint(6, L, (n,), generator=g)  # at least one pad
    ids = ids.masked_fill(torch.arange(L)[None] >= length[:, None], 0)
    place = torch.stack([torch.randperm(6, generator=g)[:2] for _ in range(n)])
    ids.scatter_(1, place, pairs[y])
    return ids, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    ids, y = utterances(4000, g)
    vids, vy = utterances(800, g)
    model = IntentModel(inverted=not fixed)
    decay = [p for n, p in model.named_parameters() if p.ndim >= 2 and "pos" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim >= 2 and "pos" not in n)]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=1e-3
    )
    curve = []
    with observe(model, opt):
        for epoch in range(7):
            for i in torch.randperm(len(ids), generator=g).split(64):
                loss = F.cross_entropy(model(ids[i]), y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (model(vids).argmax(1) == vy).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
