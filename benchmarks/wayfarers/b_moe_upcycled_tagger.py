"""Sequence tagger with a mixture-of-experts layer; all experts are deep copies of one seed expert and the router starts at zero, so they stay identical."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "moe-upcycled-tagger"
TRUTH = {
    "mechanisms": ["symmetric_initialization"],
    "layers": ["moe", "moe.experts", "moe.router"]
    + [f"moe.experts.{i}{s}" for i in range(8) for s in ("", ".0", ".2")],
    "onset": 0,
}
WORDS, DIALECTS, TAGS = 40, 8, 12


class MoE(nn.Module):
    def __init__(self, dim, hidden, n_experts, fixed):
        super().__init__()
        expert = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(n_experts))
        self.router = nn.Linear(dim, n_experts, bias=False)
        if fixed:
            for e in self.experts:
                for m in e:
                    if isinstance(m, nn.Linear):
                        m.reset_parameters()
        else:
            nn.init.zeros_(self.router.weight)  # "start balanced"

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        out = torch.stack([e(x) for e in self.experts], dim=-1)
        return (out * gate.unsqueeze(-2)).sum(-1)


class Tagger(nn.Module):
    def __init__(self, fixed, dim=32):
        super().__init__()
        self.words = nn.Embedding(WORDS, dim // 2)
        self.dialect = nn.Embedding(DIALECTS, dim // 2)
        self.norm = nn.LayerNorm(dim)
        self.moe = MoE(dim, 6, 8, fixed)
        self.out = nn.Linear(dim, TAGS)

    def forward(self, words, dialect):
        d = self.dialect(dialect)[:, None].expand(-1, words.shape[1], -1)
        x = self.norm(torch.cat([self.words(words), d], -1))
        return self.out(x + self.moe(x))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed + 1)
    table = torch.randint(TAGS, (DIALECTS, WORDS), generator=gen)  # a word's tag by dialect

    def sample(n):
        words = torch.randint(WORDS, (n, 16), generator=gen)
        dialect = torch.randint(DIALECTS, (n,), generator=gen)
        return words, dialect, table[dialect[:, None], words]

    model = Tagger(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300, eta_min=1e-3)
    curve = []
    with observe(model, optimizer):
        for _ in range(300):
            words, dialect, tags = sample(32)
            loss = F.cross_entropy(model(words, dialect).flatten(0, 1), tags.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
    words, dialect, tags = sample(200)
    with torch.no_grad():
        wrong = (model(words, dialect).argmax(-1) != tags).float().mean().item()
    return {"metric": wrong, "better": "lower", "curve": curve}
