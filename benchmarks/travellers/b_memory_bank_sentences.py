"""Healthy but odd: contrastive sentence vectors with a momentum encoder and a memory bank that
fills up during training; the loss climbs with the number of negatives while retrieval improves."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

ID = "memory-bank-sentences-rising-loss"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

VOCAB, LENGTH, THEMES, BATCH, BANK = 144, 24, 24, 32, 16384


class Sentences:
    """A sentence blends three of many themes; two views of it draw their words independently."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        twice = [torch.randperm(VOCAB, generator=self.gen) for _ in range(2)]
        self.lexicon = torch.cat(twice).view(THEMES, 12)

    def view(self, themes):
        n = len(themes)
        theme = themes.gather(1, torch.randint(0, 3, (n, LENGTH), generator=self.gen))
        return self.lexicon[theme, torch.randint(0, 12, (n, LENGTH), generator=self.gen)]

    def pairs(self, n):
        themes = torch.rand(n, THEMES, generator=self.gen).argsort(1)[:, :3]
        return self.view(themes), self.view(themes)


class SentenceEncoder(nn.Module):
    """Embedding, a small bidirectional convolution and attention pooling."""

    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.mix = nn.Conv1d(d, d, 3, padding=1)
        self.norm = nn.LayerNorm(d)
        self.attend = nn.Linear(d, 1, bias=False)
        self.project = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, 32))

    def forward(self, x):
        e = self.embed(x)
        h = self.norm(e + F.gelu(self.mix(e.transpose(1, 2))).transpose(1, 2))
        pooled = (self.attend(h).softmax(1) * h).sum(1)
        return F.normalize(self.project(pooled), dim=-1)


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    data = Sentences(seed + 15)
    model = SentenceEncoder()
    slow = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    bank = torch.empty(0, 32)
    curve = []
    with observe(model, optimizer):
        for step in range(500):
            first, second = data.pairs(BATCH)
            with torch.no_grad():
                for p, q in zip(slow.parameters(), model.parameters()):
                    p.lerp_(q, 0.03)
                keys = slow(second)
            queries = model(first)
            logits = queries @ torch.cat([keys, bank]).T / 0.2
            loss = F.cross_entropy(logits, torch.arange(BATCH))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bank = torch.cat([keys, bank])[:BANK]
            curve.append(loss.item())
    with torch.no_grad():
        first, second = data.pairs(300)
        hits = (model(first) @ model(second).T).argmax(-1) == torch.arange(300)
    return {"metric": hits.float().mean().item(), "better": "higher", "curve": curve}
