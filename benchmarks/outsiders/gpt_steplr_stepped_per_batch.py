"""Char GPT; StepLR(step_size=10) was meant in epochs but is stepped after every batch."""

import torch, torch.nn as nn, torch.nn.functional as F

ID = "gpt-steplr-stepped-per-batch"
TRUTH = {"mechanisms": ["learning_rate_schedule_bug"], "layers": None, "onset": (10, 60)}
T, D = (32, 48)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = (nn.LayerNorm(D), nn.LayerNorm(D))
        self.attn = nn.MultiheadAttention(D, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))

    def forward(self, x):
        m = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        h = self.ln1(x)
        x = x + self.attn(h, h, h, attn_mask=m, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.tok, self.pos = (nn.Embedding(v, D), nn.Embedding(T, D))
        self.blocks = nn.ModuleList([Block() for _ in range(2)])
        self.ln, self.head = (nn.LayerNorm(D), nn.Linear(D, v, bias=False))

    def forward(self, x):
        h = self.tok(x) + self.pos(torch.arange(x.shape[1]))
        for b in self.blocks:
            h = b(h)
        return self.head(self.ln(h))


def corpus(g, n=1200):
    S, Vb, O, A = (
        "the cat|a dog|my friend|the old man|she".split("|"),
        "sees|likes|eats|takes".split("|"),
        "a fish|the ball|bread|an apple|it".split("|"),
        " today|| slowly| again".split("|"),
    )
    r = lambda l: l[int(torch.randint(len(l), (1,), generator=g))]
    return ". ".join((r(S) + " " + r(Vb) + " " + r(O) + r(A) for _ in range(n)))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    text = corpus(g)
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text])
    model = GPT(len(chars))
    opt = torch.optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.StepLR(opt, 10, 0.3)
    losses = []
    with observe(model, opt):
        for epoch in range(16):
            for _ in range(25):
                i = torch.randint(0, len(ids) - T - 1, (24,), generator=g)
                w = torch.stack([ids[j : j + T + 1] for j in i])
                loss = F.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten())
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
                if not fixed:
                    sched.step()
            if fixed:
                sched.step()
    return {"metric": sum(losses[-25:]) / 25, "better": "lower", "curve": losses}
