"""Fine-tuning of a small pre-norm transformer (mean-pooled) from one dialect of a toy sensor language to another.
Bug: to save memory the whole model is cast with .to(torch.bfloat16) and AdamW runs on these bf16 weights with a fine-tuning
rate of 5e-5; most updates are below half a unit in the last place of the weights and are rounded away. (fixed: fp32 weights, autocast.)"""

import contextlib
import torch, torch.nn as nn, torch.nn.functional as F

ID = "b_tagger_bf16"
TRUTH = {"mechanisms": ["low_precision_update_absorption"], "layers": None, "onset": (0, 0)}
V, L, C = 30, 16, 5


def corpus(n, g, dialect):
    pg = torch.Generator().manual_seed(500)
    base = torch.randn(C, V, generator=pg)
    if dialect:
        base = base[torch.randperm(C, generator=pg)] * 0.5 + 0.9 * torch.randn(C, V, generator=pg)
    y = torch.randint(0, C, (n,), generator=g)
    x = torch.multinomial((base[y]).softmax(1), L, replacement=True, generator=g)
    return x, y


class Encoder(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.tok = nn.Embedding(V, d)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 2, 64, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, C)

    def forward(self, x):
        h = self.tok(x)
        for b in self.blocks:
            h = b(h)
        return self.head(self.norm(h).mean(1))


def pretrain(model, g):
    X, Y = corpus(3000, g, False)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        i = torch.randint(0, len(X), (64,), generator=g)
        opt.zero_grad()
        F.cross_entropy(model(X[i]), Y[i]).backward()
        opt.step()


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed + 61)
    model = Encoder()
    pretrain(model, g)
    X, Y = corpus(3000, g, True)
    Xt, Yt = corpus(800, g, True)
    if not fixed:
        model = model.to(torch.bfloat16)
    amp = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if fixed else contextlib.nullcontext
    opt = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.3, 600)
    curve = []
    with observe(model, opt):
        for step in range(600):
            i = torch.randint(0, len(X), (64,), generator=g)
            with amp():
                out = model(X[i])
            loss = F.cross_entropy(out.float(), Y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    model.eval()
    with torch.no_grad():
        nll = F.cross_entropy(model(Xt).float(), Yt).item()
    return {"metric": nll, "better": "lower", "curve": curve}
