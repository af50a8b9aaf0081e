"""Healthy but odd: a weight-tied language model under bfloat16 autocast on a curriculum of growing
vocabularies; the loss jumps up whenever a new topic enters, then falls again."""

import math

import torch
import torch.nn.functional as F
from torch import nn

ID = "tied-lm-curriculum"
TRUTH = {"mechanisms": [], "layers": [], "onset": None}

TOPICS, WORDS, CONTEXT, DIM = 4, 16, 16, 48
VOCAB = TOPICS * WORDS


class LanguageModel(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        nn.init.normal_(self.embed.weight, std=DIM**-0.5)
        self.pos = nn.Parameter(0.02 * torch.randn(CONTEXT, DIM))
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    DIM, 4, 2 * DIM, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        self.head.weight = self.embed.weight
        mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens):
        h = self.embed(tokens) * math.sqrt(DIM) + self.pos
        for block in self.blocks:
            h = block(h, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(h))


class Corpus:
    """Each topic owns a slice of the vocabulary and a sparse successor table."""

    def __init__(self, g):
        self.g = g
        self.successors = torch.randint(WORDS, (TOPICS, WORDS, 3), generator=g)
        self.odds = torch.tensor([0.8, 0.15, 0.05])

    def batch(self, n, topics):
        topic = torch.randint(topics, (n,), generator=self.g)
        word = torch.randint(WORDS, (n,), generator=self.g)
        rows = [word]
        for _ in range(CONTEXT):
            pick = torch.multinomial(self.odds, n, replacement=True, generator=self.g)
            word = self.successors[topic, word, pick]
            rows.append(word)
        return torch.stack(rows, 1) + WORDS * topic[:, None]


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    corpus = Corpus(g)
    model = LanguageModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    steps, phase = 280, 70
    curve = []
    with observe(model, optimizer):
        for step in range(steps):
            text = corpus.batch(16, topics=1 + step // phase)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(text[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), text[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curve.append(loss.item())
    text = corpus.batch(300, topics=TOPICS)
    with torch.no_grad():
        logits = model(text[:, :-1])
    perplexity = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).exp().item()
    return {"metric": perplexity, "better": "lower", "curve": curve}
