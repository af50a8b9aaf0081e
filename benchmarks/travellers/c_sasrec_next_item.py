"""SASRec next-item model: the causal mask is off by one, so each position sees its own answer."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "c-sasrec-next-item"
TRUTH = {"mechanisms": ["unknown_cause"], "layers": None, "onset": 0}

ITEMS, LENGTH = 80, 24


def sessions(n=2500):
    """Shoppers follow a drifting chain: the next item depends on the last one and on a mood."""
    follow = torch.stack([torch.randperm(ITEMS) for _ in range(3)])
    mood = torch.randint(0, 3, (n,))
    seq = [torch.randint(0, ITEMS, (n,))]
    for _ in range(LENGTH):
        nxt = follow[mood, seq[-1]]
        stray = torch.rand(n) < 0.1
        seq.append(torch.where(stray, torch.randint(0, ITEMS, (n,)), nxt))
    return torch.stack(seq, 1)


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, heads, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, mask):
        h = self.n1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.ff(self.n2(x))


class SASRec(nn.Module):
    def __init__(self, d=48, heads=2, depth=2, offset=1):
        super().__init__()
        self.offset = offset
        self.item = nn.Embedding(ITEMS, d)
        self.place = nn.Embedding(LENGTH, d)
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.normal_(self.place.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(d)
        self.out = nn.Linear(d, ITEMS)

    def forward(self, seq):
        n = seq.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).triu(self.offset)
        x = self.item(seq) + self.place(torch.arange(n))
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    seq = sessions()
    model = SASRec(offset=1 if fixed else 2)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 30)
    curve = []
    with observe(model, opt):
        for _ in range(350):
            batch = seq[torch.randint(0, 2000, (48,))]
            logits = model(batch[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            warm.step()
            curve.append(loss.item())
    model.eval()
    hits = []
    with torch.no_grad():
        for seen in (6, 10, 14, 18, 22):
            guess = model(seq[2000:, :seen])[:, -1].argmax(1)
            hits.append((guess == seq[2000:, seen]).float().mean().item())
    return {"metric": sum(hits) / len(hits), "better": "higher", "curve": curve}
