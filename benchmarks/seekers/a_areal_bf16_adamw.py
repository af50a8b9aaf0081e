"""Fine-tuning a sequence tagger whose weights were loaded in bfloat16; torch.optim.AdamW inherits the dtype, so an update of
lr 1e-4 on a weight of 0.1 is less than half a bfloat16 step and is rounded away. areal-project/AReaL issue 1292 (load the
parameters in fp32 and compute under bf16 autocast)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

ID = "a_areal_bf16_adamw"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}
V, T, D, TAGS = 40, 20, 64, 6


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.conv = nn.Conv1d(d, d, 3, padding=1)
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x):
        x = x + self.conv(self.ln1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.down(F.silu(self.up(self.ln2(x))))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.blocks = nn.ModuleList(Block(D) for _ in range(2))
        self.norm = nn.LayerNorm(D)
        self.score = nn.Linear(D, TAGS)

    def forward(self, tok):
        h = self.embed(tok)
        for b in self.blocks:
            h = b(h)
        return self.score(self.norm(h))


def sentences(n, table):
    """The tag of a word depends on its class and on the classes of its two neighbours."""
    tok = torch.randint(0, V, (n, T))
    cls = table[0][tok]
    left, right = F.pad(cls[:, :-1], (1, 0)), F.pad(cls[:, 1:], (0, 1))
    return tok, table[1][left, cls, right]


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pre = (torch.randint(0, 3, (V,)), torch.randint(0, TAGS, (3, 3, 3)))
    post = (pre[0], torch.randint(0, TAGS, (3, 3, 3)))
    model = Tagger()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(100):  # "pretraining" in float32 on another tagging scheme
        x, y = sentences(16, pre)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
    if not fixed:
        model = model.to(torch.bfloat16)
    x, y = sentences(2000, post)
    xt, yt = sentences(300, post)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 20))
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            idx = torch.randint(0, len(x), (24,))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fixed):
                logits = model(x[idx])
            loss = F.cross_entropy(logits.float().flatten(0, 1), y[idx].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
