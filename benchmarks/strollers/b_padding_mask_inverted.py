"""Transformer encoder on padded sets of tokens (which of 6 motifs is in the document). src_key_padding_mask is True where a token is VALID, but
PyTorch wants True where it is to be ignored: only the padding is attended to and pooled. A wrong mask: not in the list."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "b_padding_mask_inverted"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": (0, 0)}
PAD, VOCAB, MAXLEN = 0, 40, 18


class DocClassifier(nn.Module):
    def __init__(self, d=32, classes=6, fixed=False):
        super().__init__()
        self.fixed = fixed
        self.tok = nn.Embedding(VOCAB, d, padding_idx=PAD)
        self.pos = nn.Parameter(torch.randn(1, MAXLEN, d) * 0.1)
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(d, classes)

    def forward(self, ids):
        mask = (ids == PAD) if self.fixed else (ids != PAD)
        h = self.encoder(self.tok(ids) + self.pos, src_key_padding_mask=mask)
        keep = (~mask).float().unsqueeze(-1)
        return self.out((h * keep).sum(1) / keep.sum(1))


def documents(n, g):
    ids = torch.randint(10, VOCAB, (n, MAXLEN), generator=g)
    y = torch.randint(0, 6, (n,), generator=g)
    length = torch.randint(8, MAXLEN - 1, (n,), generator=g)
    for i in range(n):
        L, c = int(length[i]), int(y[i])
        p = torch.randperm(L, generator=g)[:2]
        ids[i, p[0]], ids[i, p[1]] = 1 + c % 3, 4 + c // 3
        ids[i, L:] = PAD
    return ids, y


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 4)
    x, y = documents(2000, g)
    xt, yt = documents(600, g)
    model = DocClassifier(fixed=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    with observe(model, optimizer):
        for epoch in range(8):
            model.train()
            for i in torch.randperm(len(x)).split(50):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
                curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        acc = (model(xt).argmax(1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
