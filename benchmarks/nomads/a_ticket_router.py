"""A tiny transformer routes support tickets to eight queues. The milestones of MultiStepLR were meant as epochs, but
`scheduler.step()` sits inside the batch loop, so all three decays happen within the first epoch and the remaining training runs at a
thousandth of the rate. Moving one line by one indent level is enough."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_ticket_router"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (8, 14)}

VOCAB, LENGTH, QUEUES = 300, 20, 8


def tickets(n, g):
    """Up to three words of the queue's own vocabulary, one word of another queue, and filler."""
    y = torch.randint(0, QUEUES, (n,), generator=g)
    tokens = torch.randint(60, VOCAB, (n, LENGTH), generator=g)
    rows = torch.arange(n)
    for _ in range(3):
        at = torch.randint(0, LENGTH, (n,), generator=g)
        word = y * 6 + torch.randint(0, 6, (n,), generator=g) + 1
        tokens[rows, at] = word
    distract = torch.randint(1, 49, (n,), generator=g)
    tokens[rows, torch.randint(0, LENGTH, (n,), generator=g)] = distract
    return tokens, y


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, heads, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.ff(self.norm2(x))


class Router(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, d)
        self.pos = nn.Parameter(0.02 * torch.randn(LENGTH, d))
        self.blocks = nn.ModuleList([Block(d, 4) for _ in range(2)])
        self.norm = nn.LayerNorm(d)
        self.queue = nn.Linear(d, QUEUES)

    def forward(self, t):
        x = self.tok(t) + self.pos
        for b in self.blocks:
            x = b(x)
        return self.queue(self.norm(x).mean(1))


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 8)
    x, y = tickets(1200, g)
    xv, yv = tickets(500, g)
    model = Router()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[8, 11, 14], gamma=0.1)
    curve = []
    with observe(model, optimizer):
        for epoch in range(16):
            model.train()
            for idx in torch.randperm(len(x), generator=g).split(48):
                loss = F.cross_entropy(model(x[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
                curve.append(loss.item())
            if fixed:
                scheduler.step()
    model.eval()
    with torch.no_grad():
        acc = (model(xv).argmax(-1) == yv).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
