"""A small Transformer encoder tells dialects apart from transcribed utterances of different length; a leading [CLS] vector is read out.
`src_key_padding_mask` gets the Hugging Face style attention mask (1 = real token), while PyTorch wants True where a position is to be
ignored, so every query sees padding only. The two conventions are opposite and both masks have the right shape."""

import torch
from torch import nn

torch.set_num_threads(1)
ID = "b_dialect_encoder"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

PHONES, MAXLEN, DIALECTS = 30, 20, 5


def utterances(n, g, shifts):
    y = torch.randint(0, DIALECTS, (n,), generator=g)
    ln = torch.randint(8, MAXLEN - 3, (n,), generator=g)
    ids = torch.zeros(n, MAXLEN, dtype=torch.long)
    cur = torch.randint(0, PHONES, (n,), generator=g)
    for t in range(MAXLEN):
        ids[:, t] = torch.where(t < ln, cur + 2, torch.zeros_like(cur))
        jump = torch.randint(0, PHONES, (n,), generator=g)
        cur = torch.where(torch.rand(n, generator=g) < 0.65, shifts[y, cur], jump)
    ids = torch.cat([torch.ones(n, 1, dtype=torch.long), ids], 1)
    return ids, (ids != 0), y


class DialectEncoder(nn.Module):
    def __init__(self, d=40):
        super().__init__()
        self.tok = nn.Embedding(PHONES + 2, d, padding_idx=0)
        self.pos = nn.Parameter(0.3 * torch.randn(MAXLEN + 1, d))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 4, 80, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(d, DIALECTS)

    def forward(self, ids, mask):
        h = self.tok(ids) + self.pos
        for layer in self.layers:
            h = layer(h, src_key_padding_mask=mask)
        return self.head(h[:, 0])


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 50)
    # dialects differ in which few sounds follow which: bigram tables that share only part
    shifts = torch.stack([torch.randperm(PHONES, generator=g) for _ in range(DIALECTS)])
    ids, attention_mask, y = utterances(3200, g, shifts)
    ids_v, mask_v, y_v = utterances(500, g, shifts)
    if fixed:
        attention_mask, mask_v = ~attention_mask, ~mask_v
    net = DialectEncoder()
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    warm = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 40))
    curve = []
    with observe(net, opt):
        for epoch in range(12):
            for ix in torch.randperm(len(ids)).split(64):
                loss = nn.functional.cross_entropy(net(ids[ix], attention_mask[ix]), y[ix])
                loss.backward()
                opt.step()
                warm.step()
                opt.zero_grad()
                curve.append(loss.item())
    with torch.no_grad():
        acc = (net(ids_v, mask_v).argmax(-1) == y_v).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
