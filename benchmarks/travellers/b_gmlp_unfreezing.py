"""Healthy but odd: a pretrained gMLP text encoder is tuned by gradual unfreezing, so whole blocks
stand still for long stretches and the loss comes down in stairs."""

import torch
import torch.nn.functional as F
from torch import nn

ID = "gmlp-gradual-unfreezing-stairs"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

VOCAB, LENGTH, TOPICS, INTENTS, MASK = 120, 20, 10, 6, 0
UNFREEZE = {70: "blocks.2", 140: "blocks.1", 210: "blocks.0", 280: "embed"}


class Texts:
    """Words belong to topics; a text has two topics. The intent is a function of that pair."""

    def __init__(self, seed):
        self.gen = torch.Generator().manual_seed(seed)
        self.lexicon = 1 + torch.randperm(VOCAB - 1, generator=self.gen)[:110].view(TOPICS, -1)
        self.intent = torch.randint(0, INTENTS, (TOPICS, TOPICS), generator=self.gen)

    def batch(self, n):
        pair = torch.rand(n, TOPICS, generator=self.gen).argsort(1)[:, :2].sort(1).values
        which = torch.randint(0, 2, (n, LENGTH), generator=self.gen)
        word = torch.randint(0, 11, (n, LENGTH), generator=self.gen)
        return self.lexicon[pair.gather(1, which), word], self.intent[pair[:, 0], pair[:, 1]]


class GMLPBlock(nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.norm, self.gate_norm = nn.LayerNorm(d), nn.LayerNorm(hidden)
        self.up, self.down = nn.Linear(d, 2 * hidden), nn.Linear(hidden, d)
        self.spatial = nn.Conv1d(LENGTH, LENGTH, 1)
        nn.init.normal_(self.spatial.weight, std=0.02)
        nn.init.ones_(self.spatial.bias)

    def forward(self, x):
        u, v = F.gelu(self.up(self.norm(x))).chunk(2, dim=-1)
        return x + self.down(u * self.spatial(self.gate_norm(v)))


class TextGMLP(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, d)
        self.blocks = nn.ModuleList(GMLPBlock(d, 48) for _ in range(3))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, VOCAB)

    def forward(self, x):
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


def pretrain(model, texts, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        x, _ = texts.batch(32)
        hidden = torch.rand(x.shape, generator=texts.gen) < 0.15
        logits = model.head(model(x.masked_fill(hidden, MASK)))
        optimizer.zero_grad()
        F.cross_entropy(logits[hidden], x[hidden]).backward()
        optimizer.step()


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    texts = Texts(seed + 50)
    model = TextGMLP()
    pretrain(model, texts, steps=120)
    model.head = nn.Linear(48, INTENTS)
    for part in (model.embed, model.blocks):
        part.requires_grad_(False)
    parts = [model.embed, *model.blocks, nn.ModuleList([model.norm, model.head])]
    rates = [2e-4, 4e-4, 6e-4, 1e-3, 3e-3]
    groups = [{"params": list(p.parameters()), "lr": r} for p, r in zip(parts, rates)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    curve = []
    with observe(model, optimizer):
        for step in range(420):
            if step in UNFREEZE:
                model.get_submodule(UNFREEZE[step]).requires_grad_(True)
            x, y = texts.batch(32)
            loss = F.cross_entropy(model.head(model(x).mean(1)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
    with torch.no_grad():
        x, y = texts.batch(1000)
        accuracy = (model.head(model(x).mean(1)).argmax(-1) == y).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
