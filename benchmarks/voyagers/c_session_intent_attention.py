"""Session recommender that predicts the next category from 16 clicks; its cosine attention reuses the
retrieval temperature (0.01) of the config, so each query attends to a single click."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

ID = "session-intent-attention"
TRUTH = {
    "mechanisms": ["attention_entropy_collapse"],
    "layers": [f"blocks.{i}{part}" for i in range(2) for part in ("", ".attn")] + ["blocks"],
    "onset": 0,
}


@dataclass
class Config:
    items: int = 120
    clicks: int = 16
    categories: int = 5
    dim: int = 48
    heads: int = 2
    depth: int = 2
    temperature: float = 0.01
    attention_temperature: float = 0.25
    lr: float = 3e-3
    batch_size: int = 96
    steps: int = 300


class CosineAttention(nn.Module):
    def __init__(self, dim, heads, temperature):
        super().__init__()
        self.heads, self.temperature = heads, temperature
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1)
        )
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
        weights = (scores / self.temperature).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, heads, temperature):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = CosineAttention(dim, heads, temperature)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SessionModel(nn.Module):
    def __init__(self, cfg, temperature):
        super().__init__()
        self.item = nn.Embedding(cfg.items, cfg.dim)
        self.summary = nn.Parameter(torch.randn(cfg.dim))
        self.blocks = nn.ModuleList(
            [Block(cfg.dim, cfg.heads, temperature) for _ in range(cfg.depth)]
        )
        self.norm = nn.LayerNorm(cfg.dim)
        self.head = nn.Linear(cfg.dim, cfg.categories)

    def forward(self, clicks):
        first = self.summary.expand(len(clicks), 1, -1)
        h = torch.cat([first, self.item(clicks)], dim=1)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h[:, 0]))


def train(observe, seed=0, fixed=False):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    cfg = Config()
    affinity = torch.randn(cfg.items, cfg.categories, generator=g)

    def sessions(n):
        clicks = torch.randint(cfg.items, (n, cfg.clicks), generator=g)
        return clicks, affinity[clicks].sum(1).argmax(-1)

    model = SessionModel(cfg, cfg.attention_temperature if fixed else cfg.temperature)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=0.01)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cfg.steps, eta_min=1e-5)
    curve = []
    with observe(model, optimizer):
        for _ in range(cfg.steps):
            clicks, category = sessions(cfg.batch_size)
            loss = F.cross_entropy(model(clicks), category)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            cosine.step()
            curve.append(loss.item())
    clicks, category = sessions(1000)
    with torch.no_grad():
        accuracy = (model(clicks).argmax(-1) == category).float().mean().item()
    return {"metric": accuracy, "better": "higher", "curve": curve}
