"""Mini-GPT on a synthetic command language, from a course notebook: the output head is tied to the token embedding, which keeps nn.Embedding's default N(0,1)
instead of std 0.02: logits of size ~ sqrt(d), first loss tens of nats instead of ln(V). Reported as jsboige/CoursIA pull request 12768."""

import math, torch, torch.nn as nn, torch.nn.functional as F

ID = "a_minigpt_tied"
TRUTH = {"mechanisms": ["initialization_too_large"], "layers": ["emb", "head"], "onset": (0, 0)}


class Block(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.h = h

    def forward(self, x):
        B, T, d = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(B, T, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1)) / math.sqrt(d // self.h)
        a = a.masked_fill(torch.triu(torch.ones(T, T, dtype=torch.bool), 1), float("-inf")).softmax(
            -1
        )
        x = x + self.proj((a @ v).transpose(1, 2).reshape(B, T, d))
        return x + self.mlp(self.ln2(x))


class MiniGPT(nn.Module):
    def __init__(self, V=85, d=64, T=24, small_init=False):
        super().__init__()
        self.emb = nn.Embedding(V, d)
        self.pos = nn.Embedding(T, d)
        self.blocks = nn.ModuleList([Block(d, 4) for _ in range(2)])
        self.ln_f = nn.LayerNorm(d)
        self.head = nn.Linear(d, V, bias=False)
        if small_init:
            nn.init.normal_(self.emb.weight, std=0.02)
            nn.init.normal_(self.pos.weight, std=0.02)
        self.head.weight = self.emb.weight

    def forward(self, ids):
        x = self.emb(ids) + self.pos(torch.arange(ids.size(1)))
        for b in self.blocks:
            x = b(x)
        return self.head(self.ln_f(x))


def sentences(n, T, g, V=85):
    perm = torch.randperm(V, generator=torch.Generator().manual_seed(7))
    out = torch.zeros(n, T + 1, dtype=torch.long)
    out[:, 0] = torch.randint(0, V, (n,), generator=g)
    for t in range(1, T + 1):
        nxt = perm[out[:, t - 1]]
        rnd = torch.randint(0, V, (n,), generator=g)
        out[:, t] = torch.where(torch.rand(n, generator=g) < 0.85, nxt, rnd)
    return out


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 20)
    T = 24
    model = MiniGPT(T=T, small_init=fixed)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 350, 1e-4)
    curve = []
    with observe(model, opt):
        for it in range(350):
            seq = sentences(24, T, g)
            logits = model(seq[:, :-1])
            loss = F.cross_entropy(logits.reshape(-1, 85), seq[:, 1:].reshape(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            curve.append(loss.item())
    model.eval()
    seq = sentences(128, T, g)
    with torch.no_grad():
        val = F.cross_entropy(model(seq[:, :-1]).reshape(-1, 85), seq[:, 1:].reshape(-1)).item()
    return {"metric": val, "better": "lower", "curve": curve}
