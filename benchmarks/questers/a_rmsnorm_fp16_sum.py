"""Gemma-like encoder (embedding times sqrt(d)) with a hand-written RMSNorm that sums the squares in float16: the sum passes 65504, becomes inf, and the normalised output is
silently zero (microsoft/onnxruntime issue 29034: all zeros for inputs of large magnitude). Repair: accumulate in float32."""

import torch
from torch import nn
import torch.nn.functional as F

ID = "a_rmsnorm_fp16_sum"
TRUTH = {
    "mechanisms": ["half_precision_overflow"],
    "layers": ["blocks.0.norm", "blocks.1.norm", "final_norm"],
    "onset": (0, 0),
}
V, L, D = 30, 12, 288


class RMSNorm(nn.Module):
    def __init__(self, dim, acc):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.acc = acc

    def forward(self, x):
        h = x.to(torch.float16)  # activations travel in half
        ss = h.to(self.acc).pow(2).sum(-1, keepdim=True)
        inv = torch.rsqrt(ss / x.shape[-1] + 1e-5)
        return (h * inv.to(h.dtype)).float() * self.weight


class Block(nn.Module):
    def __init__(self, dim, acc):
        super().__init__()
        self.norm = RMSNorm(dim, acc)
        self.mix = nn.Conv1d(dim, 64, 3, padding=1)
        self.up = nn.Conv1d(64, dim, 1)

    def forward(self, x):
        h = self.norm(x).transpose(1, 2)
        return x + 4 * self.up(F.gelu(self.mix(h))).transpose(1, 2)


class Tagger(nn.Module):
    def __init__(self, acc):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.blocks = nn.ModuleList([Block(D, acc) for _ in range(2)])
        self.final_norm = RMSNorm(D, acc)
        self.tags = nn.Linear(D, 5)

    def forward(self, tok):
        x = self.embed(tok) * D**0.5
        for b in self.blocks:
            x = b(x)
        return self.tags(self.final_norm(x))


def sentences(n, gen):
    tok = torch.randint(0, V, (n, L), generator=gen)
    prev = torch.roll(tok, 1, 1)
    prev[:, 0] = 0
    tag = torch.where(prev % 3 == 0, tok % 5, (tok // 5) % 5)
    return tok, tag


def train(observe, seed=0, fixed=False):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 9)
    x, y = sentences(1500, gen)
    xt, yt = sentences(400, gen)
    model = Tagger(torch.float32 if fixed else torch.float16)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 30)
    curve = []
    with observe(model, opt):
        for step in range(300):
            idx = torch.randint(0, 1500, (32,))
            loss = F.cross_entropy(model(x[idx]).flatten(0, 1), y[idx].flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            curve.append(loss.item())
    with torch.no_grad():
        acc = (model(xt).argmax(-1) == yt).float().mean().item()
    return {"metric": acc, "better": "higher", "curve": curve}
